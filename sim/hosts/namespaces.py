"""Several hosts on one machine, for what runs on more than one.

A host is a set of namespaces: it has its own network interface, processes, host name, /dev/shm, runtime folder and data folder, and shares
the processors and the files of the machine. All hosts are ports of one bridge, in a namespace of its own: the machine's network is not touched.
Nothing of it has a name outside, and all of it ends with the process that made it, whatever way that ends.

Needs root, and the programs of util-linux and iproute2; ``why_no_hosts`` says what is missing.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, Self

from sim.console import Console
from sim.process import STARTED_IN, Process, children
from sim.waiting import until

PROGRAMS: Final = ("unshare", "nsenter", "ip", "mount", "hostname")
OWN: Final = ("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc")
MTU: Final = 9000
"""Bytes of a network packet: one of a JUNGFRAU fits."""


class HostLink(NamedTuple):
    """What a host's network is like; each direction has the whole delay, and loses each packet with the probability ``loss``."""

    delay_s: float
    loss: float
    seed: int = 1


@cache
def why_no_hosts() -> str:
    """Return why this machine lets us make no hosts; empty when it does."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"found no program {', '.join(missing)}: install util-linux and iproute2"
    if os.geteuid() != 0:
        return f"found user {os.geteuid()}, expected root: only root makes network namespaces; run the test with sudo"
    trial = [*OWN, "ip", "link", "add", "name", "switch", "type", "bridge"]
    tried = subprocess.run(trial, capture_output=True, text=True, check=False, timeout=20)
    if tried.returncode:
        return f"found no namespaces and bridges here ({tried.stderr.strip()}), expected a machine or container with CAP_SYS_ADMIN"
    return "" if Path("/dev/net/tun").exists() else "found no /dev/net/tun, expected the device: modprobe tun"


class SimulatedHosts:
    """Context manager. ``names`` are the hosts; those in ``links`` are reached over a link with delay and loss."""

    def __init__(self, *names: str, links: Mapping[str, HostLink] | None = None) -> None:
        self._stack = ExitStack()
        self._folder = Path(tempfile.mkdtemp(prefix="pd"))
        self._stack.callback(shutil.rmtree, self._folder)
        self._links = links or {}
        self.names = names
        self.by_name: dict[str, SimulatedHost] = {}

    def __enter__(self) -> Self:
        with self._stack:
            for folder in ("run", "data", "net"):
                (self._folder / folder).mkdir()
            self._switch = _Holder(["unshare", "--net"], "ip link add name switch type bridge; ip link set switch up")
            self._stack.callback(self._switch.end)
            for number, name in enumerate(self.names, 1):
                self.by_name[name] = SimulatedHost(
                    name, f"10.83.0.{number}", self._folder, self._switch, self._links.get(name)
                )
                self._stack.callback(self.by_name[name].end)
                self.by_name[name].boot()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __getitem__(self, name: str) -> "SimulatedHost":
        return self.by_name[name]


class SimulatedHost:
    """One host. Every path that is not its own is the same file as outside."""

    def __init__(self, name: str, address: str, folder: Path, switch: "_Holder", link: HostLink | None) -> None:
        self.name = name
        self.address = address
        self.data = folder / "data"
        """Its data folder: the same path on each host, and another folder."""
        self.seen_at = folder / "net" / name
        """Its data folder as the other hosts and the machine see it, while the host lives."""
        self.link: Console | None = None
        """What carries its network, when that has delay and loss: ``ask("counts")`` tells what was lost."""
        self._mac = f"02:00:00:00:00:{int(address.rpartition('.')[2]):02x}"
        self._run = folder / "run"
        self._disk = folder / "disks" / name
        self._switch = switch
        self._link = link
        self._init: _Holder | None = None
        self._disk.mkdir(parents=True)

    def boot(self) -> None:
        """Start it; one that was killed comes back with its disk, and without anything else."""
        assert self._init is None
        self.seen_at.symlink_to(self._disk)
        self._init = _Holder(
            OWN,
            f"hostname {self.name}; mount -t sysfs sysfs /sys; mount -t tmpfs -o mode=1777 tmpfs /dev/shm; mount -t tmpfs -o mode=0700 tmpfs {self._run};"
            f"mount --bind {self._disk} {self.data}; ip link set lo up",
        )
        port, far, own = self.name, f"{self.name}-far", self._init.pid
        if self._link is None:
            self._switch.run("ip", "link", "add", "name", port, "type", "veth", "peer", "name", far)
        else:
            words = (port, far, *map(str, self._link))
            self.link = Console("sim.hosts.lossy_link", *words, launcher=self._switch.launcher)
        self._switch.run("ip", "link", "set", port, "mtu", str(MTU), "master", "switch", "up")
        self._switch.run("ip", "link", "set", far, "netns", str(own))
        self._init.run("ip", "link", "set", far, "name", "eth0", "address", self._mac, "mtu", str(MTU), "up")
        self._init.run("ip", "address", "add", f"{self.address}/24", "broadcast", "+", "dev", "eth0")

    def kill(self) -> None:
        """End it as a loss of power does: its network and its share of the disk are gone, and no process says farewell."""
        self.end()

    def end(self) -> None:
        """End all its processes, and its network."""
        if self._init is None:
            return
        if self.link is None:
            self._switch.run("ip", "link", "delete", self.name)
        else:
            self.link.close()
            self.link = None
        self.seen_at.unlink()
        self._init.end()
        self._init = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes: those of EPICS look around on its network."""
        ours = ("EPICS_", "CAPROTO_", "PEBBLEDAQ_", "XDG_")
        outer = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return outer | {"XDG_RUNTIME_DIR": str(self._run), "XDG_STATE_HOME": str(self._run / "state")}

    @property
    def launcher(self) -> list[str]:
        """Words before a command that run it on this host."""
        assert self._init is not None, f"{self.name} is not running"
        return self._init.launcher

    def start(self, *words: str, timeout_s: float = 20.0) -> "HostProcess":
        """Start ``python WORDS...``."""
        return HostProcess(*words, environment=self.environment, timeout_s=timeout_s, launcher=self.launcher)

    def child(self, module: str, *words: str) -> Console:
        """Start ``python -m MODULE WORDS...``, to be commanded over its input."""
        return Console(module, *words, environment=self.environment, launcher=self.launcher)

    def run(self, *words: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run ``python WORDS...`` to its end."""
        return subprocess.run(
            [*self.launcher, sys.executable, *words],
            env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip


class HostProcess(Process):
    """A process on a host. Its ``pid`` is the one that it has outside."""

    @property
    def pid(self) -> int:
        """The process itself: ``self.process`` only waits for it."""
        (own,) = until(self._own)
        return own

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, and return the exit code."""
        for own in until(self._own, lambda found: found or self.process.poll() is not None):
            with suppress(ProcessLookupError):
                os.kill(own, number)
        return self.wait()

    def _own(self) -> list[int]:
        return children(self.process.pid)


class _Holder:
    """A process that does nothing, and holds the namespaces in which it was started. It ends with its input, and so with us."""

    def __init__(self, own: Sequence[str], setup: str) -> None:
        self._forked = "--pid" in own
        self._process = subprocess.Popen(
            [*own, "sh", "-e", "-c", f"{setup}; echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        self._pipes = (stdin, stdout, stderr)
        assert stdout.readline() == b"ready\n", stderr.read()
        self.pid = self._process.pid
        if self._forked:
            (self.pid,) = children(self.pid)

    @property
    def launcher(self) -> list[str]:
        """Words before a command that run it in these namespaces."""
        own = ["--net", "--mount", "--uts", "--pid"] if self._forked else ["--net"]
        return ["nsenter", "--target", str(self.pid), *own, "--", "env", f"--chdir={STARTED_IN}"]

    def run(self, *words: str) -> None:
        """Run a command in these namespaces."""
        subprocess.run([*self.launcher, *words], check=True, timeout=20)

    def end(self) -> None:
        """End it, and all processes of a host with it."""
        os.kill(self.pid, signal.SIGKILL)  # the first process of a host: the kernel kills all others with it
        self._process.wait(20)
        for pipe in self._pipes:
            pipe.close()
