"""The systemd units of a configuration: one for all of it, or one for each worker. Pure: texts by file name."""

from collections.abc import Sequence
from pathlib import Path

from detectors.config import Config
from detectors.errors import ConfigError
from detectors.run_state import RunState
from detectors.worker_names import workers
from ioc.deploy.needs import OPEN_FILES, START_S, WATCHDOG_S, Needs
from ioc.supervisor import command_line

RUNTIME_FOLDER = "/run/pebbledaq"


def units(config: Config, path: Path, user: str, command: str, *, per_worker: bool) -> dict[str, str]:
    """Return the files by name. ``command`` starts the program.

    Raises ConfigError when a unit per worker is asked for and the IOC would restart the workers, too.
    """
    needs = Needs.of(config)
    name = f"pebbledaq-{needs.slug}"
    found = {f"90-{name}.conf": needs.sysctl()} if needs.receive_buffer else {}
    if not per_worker:
        start = f"{command} run {_quoted(path)}"
        return found | {
            f"{name}.service": _unit(needs, path, user, what="the IOC and its workers", start=start, kill=_ALL)
        }
    if config.run.restart_workers:
        raise ConfigError(
            "run.restart_workers: found true, expected false where each worker has a unit: systemd restarts them, and the IOC "
            "adopts them; set it to false, or leave out --per-worker"
        )
    state = RunState.ENABLED if config.run.autostart else RunState.UNCONFIGURED
    build = command_line(path)
    services: list[str] = []
    for worker, source in workers(config).items():
        if source is None or source.enabled:
            words = build(worker, state)[3:]  # without the interpreter
            service = f"{name}-{worker}.service"
            services.append(service)
            start = " ".join((command, *map(_quoted, words)))
            found[service] = _unit(
                needs, path, user, what=f"worker {worker}", start=start, kill=_WORKER, target=f"{name}.target"
            )
    found[f"{name}-ioc.service"] = _unit(
        needs,
        path,
        user,
        what="the IOC",
        start=f"{command} run {_quoted(path)}",
        kill=_IOC,
        target=f"{name}.target",
        after=services,
    )
    found[f"{name}.target"] = f"""\
[Unit]
Description=pebbledaq {_text(needs.prefix.rstrip(":"))}: the IOC and all workers

[Install]
WantedBy=multi-user.target
"""
    return found


_ALL = """\
# A stop is for the IOC alone, which lets its workers write what they hold. If the IOC itself dies they go on, and the next
# one adopts them.
KillMode=process
"""
_IOC = """\
# The IOC would end its workers on SIGTERM. Killed, it leaves them to the next one, which adopts them: `systemctl restart` of
# this unit interrupts no data. Stop the target to stop all.
KillMode=process
KillSignal=SIGKILL
SuccessExitStatus=SIGKILL
"""
_WORKER = """\
# What is queued is written first; what is still there at the end of TimeoutStopSec is killed.
KillMode=mixed
"""


def _unit(
    needs: Needs,
    path: Path,
    user: str,
    *,
    what: str,
    start: str,
    kill: str,
    target: str = "",
    after: Sequence[str] = (),
) -> str:
    mounts = " ".join(_quoted(folder).replace("$$", "$") for folder in (path, *needs.folders))
    order = f"PartOf={target}\n" if target else ""
    if after:
        order += f"# The IOC adopts workers that run; it would start those that do not.\nWants={' '.join(after)}\n"
    realtime = f"""\
# Receivers go before all other threads (SCHED_FIFO {needs.realtime}): one that waits for a processor loses packets.
LimitRTPRIO={needs.realtime}
"""
    return f"""\
# Written by `pebbledaq deploy systemd {_text(str(path))}`: write it again when the configuration has changed.
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
ExecStart={start}
User={user}
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
# To look from a shell: XDG_RUNTIME_DIR={RUNTIME_FOLDER} pebbledaq status, as {user}.
RuntimeDirectory=pebbledaq
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
Environment=XDG_RUNTIME_DIR={RUNTIME_FOLDER}
# Totals survive a reboot here; in shared memory they would not.
StateDirectory=pebbledaq
StateDirectoryMode=0700
Environment=PEBBLEDAQ_COUNTERS=/var/lib/pebbledaq
# The pebbles lie in /dev/shm. If {user} is an account that people log in with, set RemoveIPC=no in logind.conf: else they
# are removed when the last session ends.
{realtime if needs.realtime else ""}\
# The ring of a card is pinned memory, and so is what realtime threads lock.
LimitMEMLOCK=infinity
# Data files, and sockets of clients: see the limit of connections in docs/how-to/network.md.
LimitNOFILE={OPEN_FILES}
# The pools are the memory of this host: another process is to go first.
OOMScoreAdjust=-500
NoNewPrivileges=yes

[Install]
WantedBy={target or "multi-user.target"}
"""


def _text(value: str) -> str:
    """Return a text as a unit file has it: a percent sign begins a specifier there."""
    return value.replace("%", "%%")


def _quoted(word: object) -> str:
    """Return one word of a command line."""
    text = _text(str(word)).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{text}"' if any(c in text for c in " \t\"'\\;") else text
