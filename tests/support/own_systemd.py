"""A systemd that knows no unit but those it is given: the first process of namespaces, with a cgroup and a /run of its own.

Needs root. The machine's own services, if it has a systemd, are not touched, and all ends with the test.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Self

import psutil

from sim.hosts.namespaces import why_no_hosts
from tests.support.waiting import until

_SYSTEMD: Final = Path("/lib/systemd/systemd")
_SHIPPED: Final = Path("/lib/systemd/system")
_TARGETS: Final = ("basic", "multi-user", "network-online", "shutdown", "sysinit", "time-sync")
_BOOT: Final = """
echo $$ >"$CGROUP/cgroup.procs"
exec unshare --pid --mount --uts --ipc --cgroup --fork --mount-proc sh -ec '
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t tmpfs -o mode=755 tmpfs /var/lib
    umount --recursive --lazy /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    exec "$SYSTEMD" --system --unit=multi-user.target --show-status=no --log-target=console'
"""


def _cgroups() -> Path | None:
    """Return where the cgroups of version 2 are."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)


def why_no_systemd() -> str:
    """Return why there can be none here; empty when there can."""
    if not _SYSTEMD.exists():
        return f"found no {_SYSTEMD}: install systemd"
    cgroups = _cgroups()
    if cgroups is None or not os.access(cgroups, os.W_OK):
        return "found no cgroups of version 2 that can be written, expected them for systemd"
    return why_no_hosts()


class OwnSystemd:
    """Context manager; ``units`` are texts by their file names."""

    def __init__(self, units: dict[str, str]) -> None:
        self._stack = ExitStack()
        self._folder = Path(tempfile.mkdtemp(prefix="pd", dir="/tmp"))
        self._stack.callback(shutil.rmtree, self._folder)
        for name in _TARGETS:
            shutil.copy(_SHIPPED / f"{name}.target", self._folder)
        for name, text in units.items():
            (self._folder / name).parent.mkdir(exist_ok=True)
            (self._folder / name).write_text(text)
        self._pid = 0

    def __enter__(self) -> Self:
        with self._stack:
            cgroups = _cgroups()
            assert cgroups is not None
            cgroup = cgroups / self._folder.name
            cgroup.mkdir()
            self._stack.callback(_remove, cgroup)
            environment = {
                "PATH": os.environ["PATH"],
                "CGROUP": str(cgroup),
                "SYSTEMD": str(_SYSTEMD),
                "SYSTEMD_UNIT_PATH": str(self._folder),
                "container": "test",
            }
            log = self._stack.enter_context((self._folder / "log").open("w"))
            outside = subprocess.Popen(
                ["/bin/sh", "-c", _BOOT], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            self._stack.callback(outside.wait)
            self._stack.callback(outside.kill)
            # With its first process all in a pid namespace end.
            (self._pid,) = until(lambda: [child.pid for child in psutil.Process(outside.pid).children()])
            self._stack.callback(os.kill, self._pid, signal.SIGKILL)
            until(lambda: self.tell("is-system-running", check=False), lambda state: state in ("running", "degraded"))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def tell(self, *words: str, check: bool = True) -> str:
        """Run systemctl, and return what it prints."""
        inside = ("nsenter", "--target", str(self._pid), "--pid", "--mount", "--cgroup", "--uts", "--ipc")
        done = subprocess.run(
            [*inside, "systemctl", *words],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr + (self._folder / "log").read_text()
        return done.stdout.strip()

    def state(self, unit: str) -> tuple[str, int]:
        """Whether a service is active, and how often systemd has started it again."""
        shown = dict(line.split("=", 1) for line in self.tell("show", "-p", "ActiveState,NRestarts", unit).splitlines())
        return shown["ActiveState"], int(shown["NRestarts"])


def _remove(cgroup: Path) -> None:
    """Remove a cgroup and those in it, once their processes are gone."""
    until(lambda: "populated 0" in (cgroup / "cgroup.events").read_text())
    for path, _, _ in os.walk(cgroup, topdown=False):
        with suppress(FileNotFoundError):
            Path(path).rmdir()
