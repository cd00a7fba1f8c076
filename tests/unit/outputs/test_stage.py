import errno
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Self

import pytest

from detectors.outputs.stage import FAILURES_BEFORE_PAUSE, Stage
from detectors.stats import OutputStats
from tests.support.waiting import until


class Lease:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


class FakeSink:
    name = "disk"
    busy_state = "Writing"

    def __init__(self) -> None:
        self.written: list[Lease] = []
        self.errors: list[OSError] = []
        self.gate = threading.Event()
        self.gate.set()
        self.wanted = self.takes = True
        self.idles = 0
        self.closed = False
        self.most = self.at_once = 1
        self.calls: list[int] = []

    def write(self, leases: Sequence[Lease]) -> int:
        assert self.gate.wait(5)
        assert 0 < len(leases) <= self.most
        assert not any(lease.closed for lease in leases)
        if self.errors:
            raise self.errors.pop(0)
        if not self.takes:
            return 0
        taken = leases[: self.at_once]
        self.written += taken
        self.calls.append(len(leases))
        return len(taken)

    def idle(self) -> None:
        self.idles += 1

    def fill(self, stats: OutputStats) -> OutputStats:
        return replace(stats, folder="/x")

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
def stage(sink: FakeSink) -> Iterator[Stage]:
    stage = Stage(sink, enabled=True, limit=4)  # type: ignore[arg-type]
    yield stage
    sink.gate.set()
    stage.close()
    assert sink.closed
    check(stage)
    assert stage.stats().queued == 0


def check(stage: Stage) -> OutputStats:
    s = stage.stats()
    assert s.offered == s.written + s.dropped + s.disabled + s.queued
    return s


def offer(stage: Stage, n: int = 1) -> list[Lease]:
    leases = [Lease() for _ in range(n)]
    for lease in leases:
        if stage.admit():
            stage.put(lease)  # type: ignore[arg-type]
        else:
            lease.close()
        check(stage)
    return leases


def test_frames_are_written_in_order_and_their_leases_closed_once(stage: Stage, sink: FakeSink) -> None:
    leases = offer(stage, 3)
    assert stage.drain(5)
    assert sink.written == leases
    until(lambda: all(lease.closed == 1 for lease in leases))
    s = check(stage)
    assert (s.written, s.state, s.folder, s.name) == (3, "Writing", "/x", "disk")


def test_a_full_queue_drops_and_counts(stage: Stage, sink: FakeSink) -> None:
    sink.gate.clear()
    leases = offer(stage, 20)
    s = check(stage)
    assert s.dropped >= 20 - 4 - 1
    assert s.queued == 20 - s.dropped
    assert not stage.drain(0.02)
    sink.gate.set()
    assert stage.drain(5)
    until(lambda: all(lease.closed == 1 for lease in leases))
    assert check(stage).written == len(sink.written) == s.queued


def test_a_disabled_stage_counts_what_passes_it_by(stage: Stage, sink: FakeSink) -> None:
    stage.set_enabled(False)
    leases = offer(stage, 3)
    assert [lease.closed for lease in leases] == [1, 1, 1]
    s = check(stage)
    assert (s.disabled, s.written, s.state) == (3, 0, "Disabled")
    stage.set_enabled(True)
    offer(stage)
    assert stage.drain(5)
    assert check(stage).written == 1


def test_frames_that_the_sink_does_not_take_count_as_disabled(stage: Stage, sink: FakeSink) -> None:
    sink.takes = False
    offer(stage, 2)
    assert stage.drain(5)
    s = check(stage)
    assert (s.disabled, s.written, s.state) == (2, 0, "Idle")


def test_nothing_is_queued_while_nobody_wants_it(stage: Stage, sink: FakeSink) -> None:
    sink.wanted = False
    sink.gate.clear()
    leases = offer(stage, 20)
    assert all(lease.closed for lease in leases)
    s = check(stage)
    assert (s.disabled, s.dropped, s.queued) == (20, 0, 0)


def test_one_failure_loses_one_frame(stage: Stage, sink: FakeSink) -> None:
    sink.errors = [OSError(errno.EIO, "Input/output error")]
    offer(stage)
    assert stage.drain(5)
    s = check(stage)
    assert (s.dropped, s.errors, s.message, s.state) == (1, 1, "Input/output error", "Failing")
    offer(stage)
    assert stage.drain(5)
    s = check(stage)
    assert (s.written, s.message, s.state) == (1, "", "Writing")


def test_a_dead_sink_is_left_alone_for_a_while(stage: Stage, sink: FakeSink, caplog: pytest.LogCaptureFixture) -> None:
    sink.errors = [OSError(errno.EIO, "Input/output error") for _ in range(100)]
    for _ in range(20):
        offer(stage)
        assert stage.drain(5)
    s = check(stage)
    assert (s.dropped, s.errors, s.state) == (20, FAILURES_BEFORE_PAUSE, "Failing")
    assert len(caplog.records) == 1
    sink.errors.clear()
    stage.set_enabled(True)
    offer(stage)
    assert stage.drain(5)
    assert check(stage).written == 1


def test_a_full_disk_is_named(stage: Stage, sink: FakeSink) -> None:
    sink.errors = [OSError(errno.ENOSPC, "No space left on device", "/data/x.bin")]
    offer(stage, 2)
    assert stage.drain(5)
    s = check(stage)
    assert (s.state, s.message) == ("Full", "/data/x.bin: No space left on device")


def test_a_frame_that_would_block_is_lost_alone(stage: Stage, sink: FakeSink) -> None:
    sink.errors = [BlockingIOError(errno.ENOBUFS, "a subscriber is too slow")]
    offer(stage, 2)
    assert stage.drain(5)
    s = check(stage)
    assert (s.dropped, s.written, s.errors) == (1, 1, 0)


def test_an_action_runs_on_the_stage_thread_behind_the_queue(stage: Stage, sink: FakeSink) -> None:
    sink.gate.clear()
    offer(stage, 2)
    sink.gate.set()
    assert stage.ask(lambda: (len(sink.written), threading.current_thread().name)) == (2, "output-disk")
    with pytest.raises(ZeroDivisionError):
        stage.ask(lambda: 1 / 0)
    offer(stage)
    assert stage.drain(5)


def test_idle_is_told_again_and_again(stage: Stage, sink: FakeSink) -> None:
    until(lambda: sink.idles > 2)


def test_frames_that_wait_are_given_to_the_sink_together(sink: FakeSink) -> None:
    sink.most, sink.at_once = 8, 3
    stage = Stage(sink, enabled=True, limit=30)  # type: ignore[arg-type]
    sink.gate.clear()
    leases = offer(stage, 12)
    done: list[int] = []
    sink.gate.set()
    stage.ask(lambda: done.append(len(sink.written)))
    assert done == [12], "what is asked comes behind the frames queued before"
    assert sink.written == leases
    assert all(lease.closed == 1 for lease in leases)
    assert max(sink.calls) > 3
    assert check(stage).written == 12
    stage.close()


def test_of_frames_given_together_each_has_its_own_fate(sink: FakeSink) -> None:
    sink.most = sink.at_once = 8
    stage = Stage(sink, enabled=True, limit=30)  # type: ignore[arg-type]
    sink.gate.clear()
    leases = offer(stage, 9)
    sink.errors = [BlockingIOError(errno.ENOBUFS, "full"), OSError(errno.EIO, "bad")]
    sink.gate.set()
    assert stage.drain(5)
    s = check(stage)
    assert (s.written, s.dropped) == (7, 2)
    assert all(lease.closed == 1 for lease in leases)
    stage.close()
