"""Totals over the lives of a worker: what is carried over, settled and reset keeps the balance."""

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detectors.balance import balance
from detectors.runtime_names import RuntimeNames
from detectors.stats import (
    BrowserStats,
    CaptureStatus,
    DmaStats,
    FrameStats,
    FunctionStats,
    ImageStats,
    MonitorStatus,
    OutputStats,
    PacketStats,
    PoolStats,
    ProcessingStatus,
    ReceiverStatus,
    ResultStats,
    StreamStatus,
    SyncStats,
    UpdateStats,
    WebStatus,
    WorkerStatus,
)
from detectors.totals import GAUGES, add_base, counters, total
from detectors.workers.account import Account, read_totals, reset_page
from detectors.workers.lock import hold_lock

DISK = OutputStats("disk", enabled=True, offered=9, written=5, dropped=1, disabled=1, queued=2, bytes=50, errors=1)
SYNCED = replace(DISK, durable=1, lost_on_disk=1, unsynced=3)
ZMQ = OutputStats("zmq", enabled=True, offered=9, written=0, disabled=9)
POOL = PoolStats(count=8, acquires=20, returns=17, in_use=3, misses=1, wait_s=0.5)
SYNC = SyncStats(received=30, matched=20, skipped=6, queued=4)
IMAGES = ImageStats(matched=10, assembled=9, overwritten=1, good=8)

PROCESSING = FunctionStats(offered=9, processed=3, dropped=1, failed=1, lost=1, queued=3, restarts=1, lag_ms=2.5)

STATUSES: list[WorkerStatus] = [
    ReceiverStatus(
        packets=PacketStats(received=100, placed=80, bad_pulse=3, alien=10, held=7, expected=90, lost=7),
        frames=FrameStats(complete=8, incomplete=2, delivered=9, exhausted=1, empty=1, outages=1, outage_s=2.5),
        dma=DmaStats(count=1, overruns=4),
        pebble=POOL,
        disk=SYNCED,
        zmq=ZMQ,
    ),
    MonitorStatus(
        updates=UpdateStats(updates=12, match=9, held=2, expired=1, l1_accepts=11, placed=9, empty=1, l1_pending=1),
        pebble=POOL,
        transition=POOL,
        disk=SYNCED,
        zmq=ZMQ,
    ),
    StreamStatus(
        sync=SYNC,
        images=IMAGES,
        full=replace(DISK, name="full", subscribers=1),
        reduced_pixels=3,
        compressed=replace(DISK, name="compressed", subscribers=1),
        compressed_pixel_bytes=500,
        compression_ratio=2.5,
        pool=POOL,
    ),
    CaptureStatus(sync=SYNC, images=IMAGES, output=replace(DISK, name="output"), captures=2, pool=POOL),
    WebStatus(
        images=IMAGES,
        browsers=BrowserStats(clients=2, images=9, images_hz=9.5, sent=16, skipped=2, requests=3),
        port=8080,
    ),
    ProcessingStatus(sync=SYNC, images=IMAGES, processing=PROCESSING, results=ResultStats(4, 1, 2), pool=POOL),
]


@pytest.fixture(params=STATUSES, ids=lambda s: s.kind)
def status(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page"


def test_the_examples_balance(status: Any):
    assert {line: rest for line, rest in balance(status).items() if rest} == {}


def test_every_number_of_a_snapshot_is_a_counter_or_a_gauge():
    for kind, gauges in GAUGES.items():
        assert gauges <= {f.name for f in dataclasses.fields(kind)}
    names = counters(STATUSES[0])
    assert {"packets.lost", "frames.outage_s", "dma.overruns", "pebble.wait_s", "disk.bytes", "zmq.disabled"} <= set(
        names
    )
    assert not {"packets.held", "pebble.in_use", "disk.queued", "pulse_id", "senders", "pid"} & set(names)


def test_a_new_life_goes_on_from_the_totals(status: Any, page: Path):
    """A snapshot, a kill, and a life that counts the same again: all twice, in balance, with nothing under way."""
    empty = type(status)()
    first = Account(page, empty, {})
    assert counters(first.enter(status)) == counters(status)
    then = Account(page, empty, {}).show(empty)
    assert {line: rest for line, rest in balance(then).items() if rest} == {}
    fallen = {name for name, value in counters(status).items() if counters(then)[name] < value}
    assert fallen == set()
    second = Account(page, empty, {})
    both = second.enter(status)
    assert {line: rest for line, rest in balance(both).items() if rest} == {}
    assert all(counters(both)[name] >= 2 * value for name, value in counters(status).items())


def test_what_was_queued_is_dropped_if_the_output_takes_frames(page: Path):
    account = Account(page, ReceiverStatus(), {})
    account.enter(STATUSES[0])
    then = Account(page, ReceiverStatus(), {}).show(ReceiverStatus())
    assert (then.disk.dropped, then.disk.disabled, then.zmq.dropped, then.zmq.disabled) == (3, 1, 0, 9)


def test_a_worker_that_does_not_run_shows_what_its_next_life_goes_on_from(status: Any, short_runtime_dir: Path):
    runtime = RuntimeNames("T:TOTALS:")
    page = runtime.counters("w")
    assert read_totals(runtime, "w") == {}
    Account(page, type(status)(), {}).enter(status)
    with hold_lock(runtime, "w"):  # a worker that runs has not lost what is under way
        running = read_totals(runtime, "w")
        assert {name: running[name] for name in counters(status)} == counters(status)
    shown = read_totals(runtime, "w")
    then = Account(page, type(status)(), {}).show(type(status)())
    assert {name: shown[name] for name in counters(then)} == counters(then)
    assert (shown["counted_since"], shown["totals_lost"]) == (then.counted_since, 0)


def test_an_output_that_comes_later_was_disabled_before(page: Path):
    Account(page, ReceiverStatus(), {}).enter(replace(STATUSES[0], disk=OutputStats()))
    then = Account(page, ReceiverStatus(), {}).show(ReceiverStatus(disk=OutputStats("disk")))
    assert (then.disk.offered, then.disk.disabled) == (9, 9)
    assert {line: rest for line, rest in balance(then).items() if rest} == {}


def test_reset_begins_at_what_is_under_way(status: Any, page: Path):
    account = Account(page, type(status)(), {})
    account.enter(status)
    account.reset(status)
    now = account.enter(status)
    assert {line: rest for line, rest in balance(now).items() if rest} == {}
    assert sum(counters(now).values()) < 40
    assert now.counted_since
    account.enter(status)
    assert {
        line: rest for line, rest in balance(Account(page, type(status)(), {}).show(type(status)())).items() if rest
    } == {}


def test_records_that_are_durable_after_a_reset_are_of_the_account_before(page: Path):
    account = Account(page, ReceiverStatus(), {})
    before = OutputStats("disk", offered=100, written=100, durable=60, unsynced=40)
    account.reset(ReceiverStatus(disk=before))
    for written, durable in ((100, 60), (103, 60), (103, 100), (103, 102), (103, 103)):
        raw = replace(before, offered=written, written=written, durable=durable, unsynced=written - durable)
        shown = account.show(ReceiverStatus(disk=raw))
        assert isinstance(shown, ReceiverStatus)
        expected = (written - 100, max(0, durable - 100), min(written - 100, written - durable))
        assert (shown.disk.written, shown.disk.durable, shown.disk.unsynced) == expected


def test_reset_at_rest_is_zero(page: Path):
    at_rest = ReceiverStatus(
        packets=PacketStats(received=5, placed=5, expected=8, lost=3), pebble=PoolStats(acquires=2, returns=2)
    )
    account = Account(page, ReceiverStatus(), {})
    account.enter(at_rest)
    account.reset(at_rest)
    assert set(counters(account.enter(at_rest)).values()) == {0}
    assert set(counters(Account(page, ReceiverStatus(), {}).show(ReceiverStatus())).values()) == {0}


def test_the_page_of_a_worker_that_does_not_run_is_reset(status: Any, page: Path):
    reset_page(page)
    assert not page.exists()
    Account(page, type(status)(), {}).enter(status)
    reset_page(page)
    then = Account(page, type(status)(), {}).show(type(status)())
    assert set(counters(then).values()) == {0}


def test_a_damaged_page_begins_anew_and_that_is_counted(page: Path, caplog: pytest.LogCaptureFixture):
    page.write_bytes(b"x")
    account = Account(page, ReceiverStatus(), {})
    assert account.show(ReceiverStatus()).totals_lost == 1
    assert f"{page}: the counters page is damaged" in caplog.text
    again = Account(page, ReceiverStatus(), {})
    assert again.show(ReceiverStatus()).totals_lost == 1
    again.reset(ReceiverStatus())
    assert again.show(ReceiverStatus()).totals_lost == 0


def test_counters_that_a_page_lacks_are_zero(page: Path):
    Account(page, StreamStatus(), {}).enter(STATUSES[2])
    then = Account(page, ReceiverStatus(), {}).show(ReceiverStatus())
    assert then.packets == PacketStats()


def test_a_base_is_added_to_counters_alone():
    shown = add_base(STATUSES[0], {"packets.lost": 3, "pebble.wait_s": 1.5})
    assert isinstance(shown, ReceiverStatus)
    assert (shown.packets.lost, shown.packets.received, shown.pebble.wait_s) == (10, 100, 2.0)


def test_the_totals_of_a_page_are_those_of_its_base_names():
    assert total({"base": {"packets.late": 4}, "rest": {"packets.late": 2, "disk.enabled": 1}}) == {"packets.late": 6}
