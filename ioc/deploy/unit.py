"""The text of one systemd unit, with the reason of each setting. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detectors.pools.sizing import size_text
from ioc.deploy.needs import OPEN_FILES, START_S, WATCHDOG_S, Needs

RUNTIME_FOLDER: Final = "/run/pebbledaq"

KILL_ALL: Final = """\
# A stop is for the IOC alone, which lets its workers write what they hold. If the IOC itself dies they go on, and the next
# one adopts them.
KillMode=process
"""
KILL_IOC: Final = """\
# The IOC would end its workers on SIGTERM. Killed, it leaves them to the next one, which adopts them: `systemctl restart` of
# this unit interrupts no data. Stop the target to stop all.
KillMode=process
KillSignal=SIGKILL
SuccessExitStatus=SIGKILL
"""
KILL_WORKER: Final = """\
# What is queued is written first; what is still there at the end of TimeoutStopSec is killed.
KillMode=mixed
"""

INSTANCE: Final = "%i"
"""The instance of a template unit: what stands between ``@`` and the end of its name."""


@dataclass(frozen=True, slots=True)
class Program:
    """The program as the units of a configuration start it."""

    command: str
    """Command line of the program, without arguments."""
    path: Path
    """The configuration."""
    user: str

    def line(self, *words: object) -> str:
        """Return the command line with these arguments."""
        return " ".join((self.command, *(INSTANCE if word == INSTANCE else _quoted(word) for word in words)))


def service(
    needs: Needs, program: Program, *words: object, what: str, kill: str, target: str = "", after: Sequence[str] = ()
) -> str:
    """Return a service. ``words`` are the arguments of the program; it belongs to ``target``, or else starts with the host.

    It starts the units ``after`` and comes after them.
    """
    mounts = " ".join(_quoted(folder).replace("$$", "$") for folder in (program.path, *needs.folders, *needs.keys))
    order = f"PartOf={target}\n" if target else ""
    if after:
        order += f"# The IOC adopts workers that run; it would start those that do not.\nWants={' '.join(after)}\n"
    keys = f"# {program.user} must be able to read the keys in {_text(', '.join(map(str, needs.keys)))}.\n"
    realtime = f"""\
# Receivers go before all other threads (SCHED_FIFO {needs.realtime}): one that waits for a processor loses packets.
LimitRTPRIO={needs.realtime}
"""
    return f"""\
{header(program)}\
[Unit]
Description=pebbledaq {_text(needs.prefix.rstrip(":"))}: {what}
After={" ".join(("network-online.target", "time-sync.target", *after))}
Wants=network-online.target
# Data must not go below a mount point whose disk is not there yet.
RequiresMountsFor={mounts}
{order}# What fails at each start is left alone after a while; `systemctl reset-failed` lets it be tried again.
StartLimitIntervalSec=600
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
ExecStart={program.line(*words)}
{keys if needs.keys else ""}\
User={program.user}
# A worker touches all its memory before it is ready.
TimeoutStartSec={START_S}
# The main thread says that it is alive every {WATCHDOG_S // 2} s; one that hangs is ended and started again.
WatchdogSec={WATCHDOG_S}
Restart=on-failure
RestartSec=1
# run.drain_s of the configuration, and a margin.
TimeoutStopSec={needs.stop_s}
{kill}\
# Sockets and locks, one folder for all units of this host: it must not go with the first that stops.
# To look from a shell: XDG_RUNTIME_DIR={RUNTIME_FOLDER} pebbledaq status, as {program.user}.
RuntimeDirectory=pebbledaq
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
Environment=XDG_RUNTIME_DIR={RUNTIME_FOLDER}
# Totals survive a reboot here; in shared memory they would not.
StateDirectory=pebbledaq
StateDirectoryMode=0700
Environment=PEBBLEDAQ_COUNTERS=/var/lib/pebbledaq
# The pebbles lie in /dev/shm, which must have room for {size_text(needs.shm_bytes)}. If {program.user} is an account that people log in
# with, set RemoveIPC=no in logind.conf: else they are removed when the last session ends.
{realtime if needs.realtime else ""}\
# The ring of a card is pinned memory, and so is what realtime threads lock.
LimitMEMLOCK=infinity
# Data files, and sockets of clients: see the limit of connections in docs/how-to/network.md.
LimitNOFILE={OPEN_FILES}
# The pools are the memory of this host: another process is to go first.
OOMScoreAdjust=-500
NoNewPrivileges=yes
{"" if target else INSTALL}"""


def target(needs: Needs, program: Program, what: str, wanted: Sequence[str]) -> str:
    """Return the target that starts the units ``wanted``."""
    return f"""\
{header(program)}\
[Unit]
Description=pebbledaq {_text(needs.prefix.rstrip(":"))}: {what}
Wants={" ".join(wanted)}
{INSTALL}"""


INSTALL: Final = """
[Install]
WantedBy=multi-user.target
"""


def header(program: Program) -> str:
    """Return the first line of each unit."""
    return f"# Written by `pebbledaq deploy systemd {_text(str(program.path))}`: write it again when the configuration has changed.\n"


def _text(value: str) -> str:
    """Return a text as a unit file has it: a percent sign begins a specifier there."""
    return value.replace("%", "%%")


def _quoted(word: object) -> str:
    """Return one word of a command line."""
    text = _text(str(word)).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{text}"' if any(c in text for c in " \t\"'\\;") else text
