import gc
import os
import subprocess
import sys

import pytest

from detectors.config import WorkerTuning
from detectors.errors import HostError
from detectors.workers import tuning
from detectors.workers.tuning import QuietCollector, apply_tuning


def test_a_worker_runs_on_its_processors() -> None:
    cpu = min(os.sched_getaffinity(0))
    program = f"""
from detectors.config import WorkerTuning
from detectors.workers.tuning import apply_tuning
import os
apply_tuning(WorkerTuning(cpus=({cpu},)))
print(os.sched_getaffinity(0))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == f"{{{cpu}}}"


def test_a_processor_that_is_not_there_is_one_line() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(HostError, match=r"tuning.cpus: found \[1000\]: Invalid argument; this host has \d+ processors"):
        apply_tuning(WorkerTuning(cpus=(1000,)))
    assert os.sched_getaffinity(0) == before


def test_only_the_thread_that_asks_gets_the_priority() -> None:
    program = """
import os, threading
from detectors.config import WorkerTuning
from detectors.errors import HostError
from detectors.workers.tuning import apply_tuning
try:
    apply_tuning(WorkerTuning(realtime_priority=5))
except HostError:
    print("refused")
else:
    other = []
    thread = threading.Thread(target=lambda: other.append(os.sched_getscheduler(threading.get_native_id())))
    thread.start()
    thread.join()
    own = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
    print(own == os.SCHED_FIFO, os.sched_getparam(0).sched_priority, other == [os.SCHED_OTHER])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    if done.stdout.strip() == "refused":
        pytest.skip("this host allows no real-time priority")
    assert done.stdout.split() == ["True", "5", "True"]


def test_a_priority_that_is_refused_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with pytest.raises(
        HostError, match="realtime_priority: found 50: Operation not permitted; give the process CAP_SYS"
    ):
        apply_tuning(WorkerTuning(realtime_priority=50))


def test_nothing_is_collected_but_in_spare_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(tuning.time, "monotonic", lambda: clock[0])
    collector = QuietCollector()
    try:
        assert not gc.isenabled()
        collections = []
        monkeypatch.setattr(tuning.gc, "collect", lambda: collections.append(clock[0]))
        for clock[0] in (110.0, 131.0, 132.0, 170.0):
            collector.spare_moment()
        assert collections == [131.0, 170.0]
    finally:
        collector.close()
    assert gc.isenabled()
