import ast
import gc
import os
import subprocess
import sys

import pytest

from detectors.config import WorkerTuning
from detectors.errors import HostError
from detectors.workers import tuning
from detectors.workers.tuning import QuietCollector, become_receiver, use_processors
from tests.support.scheduling import realtime_allowed


def test_a_worker_runs_on_its_processors() -> None:
    cpu = min(os.sched_getaffinity(0))
    program = f"""
from detectors.config import WorkerTuning
from detectors.workers.tuning import use_processors
import os
use_processors(WorkerTuning(cpus=({cpu},)))
print(os.sched_getaffinity(0))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == f"{{{cpu}}}"


def test_a_processor_that_is_not_there_is_one_line() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(HostError, match=r"tuning.cpus: found \[1000\]: Invalid argument; this host has \d+ processors"):
        use_processors(WorkerTuning(cpus=(1000,)))
    assert os.sched_getaffinity(0) == before


LOOK = """
import os, threading
from detectors.config import WorkerTuning
from detectors.workers.tuning import become_receiver, starting_receivers

def here():
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(0).sched_priority

def started():
    found = []
    thread = threading.Thread(target=lambda: found.append(here()))
    thread.start()
    thread.join()
    return found[0]
"""

needs_priority_5 = pytest.mark.skipif(not realtime_allowed(5), reason="this host allows no real-time priority of 5")


def priorities(program: str) -> list[tuple[int, int]]:
    """Run a program that prints (policy, real-time priority) of several threads."""
    command = [sys.executable, "-c", LOOK + program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [ast.literal_eval(line) for line in done.stdout.splitlines()]


@needs_priority_5
def test_only_the_thread_that_receives_gets_the_priority() -> None:
    own, other = priorities("become_receiver(WorkerTuning(realtime_priority=5))\nprint(here())\nprint(started())")
    assert own == (os.SCHED_FIFO, 5)
    assert other == (os.SCHED_OTHER, 0)


def test_the_thread_that_receives_goes_before_ordinary_ones_where_it_may() -> None:
    own, other = priorities("become_receiver(WorkerTuning())\nprint(here())\nprint(started())")
    assert own == ((os.SCHED_FIFO, 1) if realtime_allowed() else (os.SCHED_OTHER, 0))
    assert other == (os.SCHED_OTHER, 0)


def test_the_priority_can_be_left_alone() -> None:
    assert priorities("become_receiver(WorkerTuning(realtime_priority=0))\nprint(here())") == [(os.SCHED_OTHER, 0)]


STARTING = """
with starting_receivers(WorkerTuning({})):
    print(started())
print(here())
print(started())
"""


def test_threads_started_to_receive_go_first_where_they_may_and_their_starter_does_not() -> None:
    ordinary = (os.SCHED_OTHER, 0)
    first = (os.SCHED_FIFO, 1) if realtime_allowed() else ordinary
    assert priorities(STARTING.format("")) == [first, ordinary, ordinary]


@needs_priority_5
def test_threads_started_to_receive_get_the_priority_and_their_starter_does_not() -> None:
    ordinary = (os.SCHED_OTHER, 0)
    assert priorities(STARTING.format("realtime_priority=5")) == [(os.SCHED_FIFO, 5), ordinary, ordinary]


def test_a_priority_that_is_refused_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with pytest.raises(
        HostError, match="realtime_priority: found 50: Operation not permitted; give the process CAP_SYS"
    ):
        become_receiver(WorkerTuning(realtime_priority=50))


def test_garbage_is_collected_in_quiet_moments_and_while_data_comes_only_when_overdue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(tuning.time, "monotonic", lambda: clock[0])
    collector = QuietCollector()
    try:
        assert not gc.isenabled()
        collections = []
        monkeypatch.setattr(tuning.gc, "collect", lambda: collections.append(clock[0]))
        for clock[0], quiet in (
            (110.0, True),
            (131.0, True),
            (132.0, True),
            (170.0, False),
            (171.0, True),
            (290.0, False),
        ):
            collector.look(clock[0], quiet=quiet)
        assert collections == [131.0, 171.0]
        clock[0] = 171.0 + 30 + 90
        collector.look(clock[0], quiet=False)
        assert collections == [131.0, 171.0, 291.0]
    finally:
        collector.close()
    assert gc.isenabled()
