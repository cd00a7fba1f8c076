"""Which threads of a process go before others."""

import os
import subprocess
import sys
from pathlib import Path


def realtime_allowed(priority: int = 1) -> bool:
    """Whether this host lets us have a real-time priority."""
    program = f"import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param({priority}))"
    return not subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60).returncode


def realtime_threads(pid: int) -> set[int]:
    """Return the threads of a process, by their ids, that have one."""
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return {thread for thread in threads if os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO}
