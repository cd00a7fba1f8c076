"""The processor time of a running process."""

import time
from collections.abc import Iterable
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Return the processor time of all threads of a process so far, s, to the ns."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def cores(pids: Iterable[int], parts: int, part_s: float) -> list[list[float]]:
    """Return how much of a processor each process takes, in each of so many parts of ``part_s``, one after another."""
    watched = [*pids]
    found: list[list[float]] = [[] for _ in watched]
    for _ in range(parts):
        before, began_s = [cpu_s(pid) for pid in watched], time.monotonic()
        time.sleep(part_s)
        elapsed_s = time.monotonic() - began_s
        for taken, pid, then_s in zip(found, watched, before, strict=True):
            taken.append((cpu_s(pid) - then_s) / elapsed_s)
    return found
