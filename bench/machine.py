"""What the benchmarks ran on."""

import os
import platform
from pathlib import Path


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def describe() -> str:
    """Return one line that names the machine."""
    load = os.getloadavg()[0]
    return (
        f"{processor()}, {os.cpu_count()} processors, Linux {platform.release()}, Python {platform.python_version()}; "
        f"load average {load:.1f} at the start"
    )


def pin(index: int) -> int:
    """Return the processor for the index-th of processes that are to be kept apart; -1 (any) on a machine with one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[index % len(usable)] if len(usable) > 1 else -1
