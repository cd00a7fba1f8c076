"""How much memory this process may still take."""

from collections.abc import Iterable
from pathlib import Path

from detectors.errors import HostError


def mem_available(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that can be allocated without swapping: MemAvailable, or the room in the own cgroup if less.

    Raises HostError when the kernel does not report it.
    """
    for line in (proc / "meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            host = int(line.split()[1]) * 1024
            break
    else:
        raise HostError(f"{proc}/meminfo: found no MemAvailable, expected Linux 3.14 or later")
    return min([host, *_cgroup_rooms(proc, cgroups)])


def _cgroup_rooms(proc: Path, cgroups: Path) -> Iterable[int]:
    """Yield the room in the own cgroup (version 2) and in those above it that have a limit."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return
    group = cgroups / own
    for folder in (group, *group.parents):
        if folder == cgroups.parent:
            return
        try:
            limit = int((folder / "memory.max").read_text(encoding="ascii"))
            used = int((folder / "memory.current").read_text(encoding="ascii"))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        except (OSError, ValueError):  # no such file at the root; "max" means unlimited
            continue
        # The kernel drops file pages that were not used lately before anything fails.
        yield max(0, limit - used + int(stat.get("inactive_file", 0)))
