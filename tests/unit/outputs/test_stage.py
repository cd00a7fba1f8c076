import errno
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
import zmq

from detectors.outputs import stage as stage_module
from detectors.outputs.health import FAILURES_BEFORE_PAUSE
from detectors.outputs.stage import Stage
from detectors.stats import OutputStats, SinkFigures
from tests.support.waiting import until


class Lease:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class FakeSink:
    name = "disk"
    busy_state = "Writing"

    def __init__(self) -> None:
        self.written: list[Lease] = []
        self.errors: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()
        self.wanted = self.takes = True
        self.idles: list[float] = []
        self.resets = 0
        self.closed = False
        self.figures = SinkFigures(folder="/x")
        self.most = self.at_once = 1
        self.calls: list[int] = []

    def write(self, leases: Sequence[Lease]) -> int:
        assert self.gate.wait(20)
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
        self.idles.append(time.monotonic())

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
def stage(sink: FakeSink) -> Iterator[Stage]:
    stage = Stage(sink, enabled=True, share=4)
    yield stage
    sink.gate.set()
    assert stage.close(5)
    assert sink.closed
    check(stage)
    assert stage.stats().queued == 0


def check(stage: Stage) -> OutputStats:
    s = stage.stats()
    assert s.offered == s.written + s.dropped + s.disabled + s.queued
    return s


def settle(stage: Stage) -> None:
    until(lambda: not stage.stats().queued)


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
    settle(stage)
    assert sink.written == leases
    until(lambda: all(lease.closed == 1 for lease in leases))
    s = check(stage)
    assert (s.written, s.state, s.folder, s.name) == (3, "Writing", "/x", "disk")


def test_a_slow_sink_holds_its_share_and_drops_the_oldest(stage: Stage, sink: FakeSink) -> None:
    sink.gate.clear()
    first = offer(stage)
    until(stage._queue.empty)  # in the hands of the sink
    leases = offer(stage, 19)
    s = check(stage)
    assert (s.queued, s.dropped, s.state) == (4, 16, "Behind")
    assert [lease.closed for lease in leases] == [1] * 16 + [0] * 3, "the newest wait"
    sink.gate.set()
    settle(stage)
    assert sink.written == [*first, *leases[-3:]]
    assert all(lease.closed == 1 for lease in [*first, *leases])
    assert check(stage).written == 4


def test_a_share_that_is_all_with_the_sink_drops_what_is_new(sink: FakeSink) -> None:
    stage = Stage(sink, enabled=True, share=1)
    sink.gate.clear()
    first = offer(stage)
    until(stage._queue.empty)
    assert [lease.closed for lease in offer(stage, 3)] == [1, 1, 1]
    assert (check(stage).dropped, first[0].closed) == (3, 0)
    sink.gate.set()
    assert stage.close(5)
    assert sink.written == first


def test_a_state_with_frames_queued_is_never_idle(
    stage: Stage, sink: FakeSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "_SHOWN_S", 0.0)
    sink.gate.clear()
    offer(stage, 2)
    assert check(stage).state == "Writing"
    sink.gate.set()
    settle(stage)
    assert check(stage).state == "Idle"


def test_a_disabled_stage_counts_what_passes_it_by(stage: Stage, sink: FakeSink) -> None:
    stage.set_enabled(False)
    leases = offer(stage, 3)
    assert [lease.closed for lease in leases] == [1, 1, 1]
    s = check(stage)
    assert (s.disabled, s.written, s.state) == (3, 0, "Off")
    stage.set_enabled(True)
    offer(stage)
    settle(stage)
    assert check(stage).written == 1


def test_frames_that_the_sink_does_not_take_count_as_disabled(stage: Stage, sink: FakeSink) -> None:
    sink.takes = False
    offer(stage, 2)
    settle(stage)
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
    settle(stage)
    s = check(stage)
    assert (s.dropped, s.errors, s.message, s.state) == (1, 1, "Input/output error", "Failing")
    offer(stage)
    settle(stage)
    s = check(stage)
    assert (s.written, s.message, s.state) == (1, "", "Writing")


def test_a_dead_sink_is_left_alone_for_a_while(stage: Stage, sink: FakeSink, caplog: pytest.LogCaptureFixture) -> None:
    sink.errors = [OSError(errno.EIO, "Input/output error") for _ in range(100)]
    for _ in range(20):
        offer(stage)
        settle(stage)
    s = check(stage)
    assert (s.dropped, s.errors, s.state) == (20, FAILURES_BEFORE_PAUSE, "Failing")
    assert len(caplog.records) == 1
    sink.errors.clear()
    stage.set_enabled(True)
    offer(stage)
    settle(stage)
    assert check(stage).written == 1


def test_a_full_disk_is_named(stage: Stage, sink: FakeSink) -> None:
    sink.errors = [OSError(errno.ENOSPC, "No space left on device", "/data/x.bin")]
    offer(stage, 2)
    settle(stage)
    s = check(stage)
    assert (s.state, s.message) == ("Full", "/data/x.bin: No space left on device")


def test_a_frame_that_would_block_is_lost_alone(stage: Stage, sink: FakeSink) -> None:
    sink.errors = [BlockingIOError(errno.ENOBUFS, "a subscriber is too slow")]
    offer(stage, 2)
    settle(stage)
    s = check(stage)
    assert (s.dropped, s.written, s.errors) == (1, 1, 0)


def test_an_action_runs_on_the_stage_thread_behind_the_queue(stage: Stage, sink: FakeSink) -> None:
    sink.gate.clear()
    offer(stage, 2)
    sink.gate.set()
    assert stage.submit(lambda: (len(sink.written), threading.current_thread().name)).result(20) == (2, "output-disk")
    with pytest.raises(ZeroDivisionError):
        stage.submit(lambda: 1 / 0).result(20)
    offer(stage)
    settle(stage)


def test_a_request_overtaken_by_dropped_frames_runs_still(stage: Stage, sink: FakeSink) -> None:
    sink.gate.clear()
    offer(stage)
    until(stage._queue.empty)
    answer = stage.submit(lambda: len(sink.written))
    offer(stage, 200)
    assert len(stage._queue._overtaken) == 1
    sink.gate.set()
    assert answer.result(20) == 1, "behind what was queued before it, and before all that came later"
    settle(stage)


def test_a_request_that_was_cancelled_never_runs(stage: Stage, sink: FakeSink) -> None:
    sink.gate.clear()
    offer(stage)
    done: list[int] = []
    assert stage.submit(lambda: done.append(1)).cancel()
    sink.gate.set()
    assert stage.submit(lambda: "later").result(20) == "later"
    assert not done


def test_idle_it_flushes_soon_and_once(stage: Stage, sink: FakeSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.outputs.stage.IDLE_S", 60.0)
    offered_at = time.monotonic()
    offer(stage)
    settle(stage)
    until(lambda: sink.idles and sink.idles[-1] > offered_at)
    flushed = len(sink.idles)
    time.sleep(0.3)
    assert len(sink.idles) == flushed


def test_idle_it_wakes_now_and_then(stage: Stage, sink: FakeSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.outputs.stage.IDLE_S", 0.3)
    until(lambda: len(sink.idles) > 3)
    assert all(later - earlier > 0.29 for earlier, later in pairwise(sink.idles))


def test_while_frames_come_the_sink_is_called_once_a_second_too(
    stage: Stage, sink: FakeSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finding: what is due on the disk waited for a pause in the data."""
    monkeypatch.setattr("detectors.outputs.stage.FLUSH_S", 60.0)
    monkeypatch.setattr("detectors.outputs.stage.IDLE_S", 0.1)
    deadline = time.monotonic() + 20
    while len(sink.idles) < 5:
        assert time.monotonic() < deadline
        offer(stage)
        time.sleep(0.01)
    assert all(later - earlier > 0.09 for earlier, later in pairwise(sink.idles))


def test_an_error_for_records_written_before_is_counted_and_costs_no_frame(stage: Stage, sink: FakeSink) -> None:
    sink.figures.syncs = True
    offer(stage)
    settle(stage)
    late = OSError(errno.EIO, "Input/output error", "/x/0.bin")
    sink.idle = lambda: (_ for _ in ()).throw(late) if not stage.stats().errors else None  # type: ignore[method-assign]
    sink.figures.lost_on_disk = 1
    until(lambda: stage.stats().errors == 1)
    assert stage.stats().state == "Failing"
    offer(stage)
    settle(stage)
    s = stage.stats()
    assert (s.written, s.dropped, s.lost_on_disk, s.unsynced, s.errors) == (2, 0, 1, 1, 1)


def test_a_record_given_up_that_becomes_durable_after_all_does_not_upset_the_balance(
    stage: Stage, sink: FakeSink
) -> None:
    sink.figures.syncs = True
    offer(stage)
    settle(stage)
    sink.figures.durable = 2
    s = stage.stats()
    assert (s.written, s.durable, s.lost_on_disk, s.unsynced) == (1, 1, 0, 0)


def test_while_frames_come_takers_are_looked_for_soon(
    stage: Stage, sink: FakeSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detectors.outputs.stage.IDLE_S", 60.0)
    until(lambda: sink.idles)  # now it sleeps for long
    sink.wanted = False
    deadline = time.monotonic() + 20
    while len(sink.idles) < 4:
        assert time.monotonic() < deadline
        offer(stage)
        time.sleep(0.005)
    assert check(stage).queued == 0


@pytest.mark.parametrize("where", ["write", "idle"])
def test_an_exception_of_any_kind_is_counted_and_shown_and_the_stage_goes_on(
    stage: Stage, sink: FakeSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    monkeypatch.setattr("detectors.outputs.health.RETRY_S", 0.2)
    if where == "write":
        sink.errors = [zmq.ZMQError(zmq.ENOTSOCK)]
        lost = 2
        sink.gate.clear()
        leases = offer(stage, lost)
        sink.gate.set()
    else:
        lost, leases = 0, []
        monkeypatch.setattr(sink, "idle", lambda: sink.errors.append(RuntimeError("x")) or 1 / 0)
        until(lambda: stage.stats().errors > 0)
        monkeypatch.undo()
        sink.errors.clear()
    settle(stage)
    s = check(stage)
    assert (s.state, s.errors, s.dropped) == ("Failed", 1, lost)
    assert ("ZMQError" if where == "write" else "ZeroDivisionError") in s.message
    assert all(lease.closed == 1 for lease in leases)
    assert len(caplog.records) == 1
    until(lambda: bool(offer(stage)) and stage.stats().written > 0)
    assert sink.resets == 1
    settle(stage)
    assert check(stage).state in ("Writing", "Behind")


def test_a_lease_that_cannot_be_closed_does_not_end_the_stage(stage: Stage, sink: FakeSink) -> None:
    class Broken(Lease):
        def close(self) -> None:
            super().close()
            raise RuntimeError("closed twice")

    assert stage.admit()
    stage.put(Broken())  # type: ignore[arg-type]
    until(lambda: stage.stats().errors > 0)
    stage.set_enabled(True)
    offer(stage)
    until(lambda: stage.stats().written > 0)
    settle(stage)


def test_a_sink_that_hangs_holds_up_neither_snapshots_nor_the_end(sink: FakeSink) -> None:
    stage = Stage(sink, enabled=True, share=4)
    sink.gate.clear()
    leases = offer(stage, 3)
    assert not stage.close(0.2)
    begun = time.monotonic()
    assert not stage.close(20), "and it is not waited for again"
    assert time.monotonic() - begun < 20
    assert all(lease.closed == 1 for lease in leases)
    s = check(stage)
    assert (s.offered, s.written, s.dropped, s.queued, s.state) == (3, 0, 3, 0, "Behind")
    assert s.message == "3 frames were not written within 0.2 s of the end, and dropped"
    sink.gate.set()  # the system call returns after all
    stage._thread.join(20)
    assert sink.closed
    assert check(stage) == s
    assert all(lease.closed == 1 for lease in leases)


def test_what_is_queued_at_the_end_is_written(sink: FakeSink) -> None:
    stage = Stage(sink, enabled=True, share=100)
    sink.gate.clear()
    leases = offer(stage, 30)
    threading.Timer(0.1, sink.gate.set).start()
    assert stage.close(5)
    assert sink.written == leases
    assert check(stage).written == 30


def test_frames_that_wait_are_given_to_the_sink_together(sink: FakeSink) -> None:
    sink.most, sink.at_once = 8, 3
    stage = Stage(sink, enabled=True, share=100)
    sink.gate.clear()
    leases = offer(stage, 12)
    done: list[int] = []
    sink.gate.set()
    stage.submit(lambda: done.append(len(sink.written))).result(20)
    assert done == [12], "what is asked comes behind the frames queued before"
    assert sink.written == leases
    assert all(lease.closed == 1 for lease in leases)
    assert max(sink.calls) > 3
    assert check(stage).written == 12
    assert stage.close(5)


def test_of_frames_given_together_each_has_its_own_fate(sink: FakeSink) -> None:
    sink.most = sink.at_once = 8
    stage = Stage(sink, enabled=True, share=100)
    sink.gate.clear()
    leases = offer(stage, 9)
    sink.errors = [BlockingIOError(errno.ENOBUFS, "full"), OSError(errno.EIO, "bad")]
    sink.gate.set()
    settle(stage)
    s = check(stage)
    assert (s.written, s.dropped) == (7, 2)
    assert all(lease.closed == 1 for lease in leases)
    assert stage.close(5)
