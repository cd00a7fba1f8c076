import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from detectors.buffer.registration import DetectorInfo
from detectors.buffer.writer import BufferWriter
from detectors.errors import CommandError
from detectors.frame import FrameHead, RecordShape
from detectors.outputs.outputs import PUBLISH_SHARE, Outputs, shares
from detectors.outputs.stage import Stage
from detectors.outputs.zmq_module import ModulePublisher
from detectors.pools.pebble import Pebble
from detectors.pools.segment import least_slot_bytes
from detectors.stats import OutputStats
from tests.support.waiting import until

SLOTS = 32
NBYTES = 1000


@pytest.mark.parametrize("bits", range(1, 12))
def test_each_output_has_a_share_and_the_receiver_the_rest(bits: int) -> None:
    slots = 1 << bits
    disk, live = shares(slots)
    assert disk >= 1
    assert 1 <= live <= PUBLISH_SHARE
    if slots > 2:
        assert live <= disk < slots - 1, "some slots are left, and the frames of the live stream are the disk's newest"


class Rig:
    """A pebble whose frames go to disk and to a ZMQ subscriber, as a receiver's do."""

    def __init__(self, folder: Path) -> None:
        shape = RecordShape(NBYTES)
        self.pebble = Pebble(None, shape, count=SLOTS, slot_bytes=least_slot_bytes(shape))
        self.writer = BufferWriter(folder / "D", DetectorInfo("uint8", (NBYTES,), NBYTES, ("M00",)))
        self.publisher = ModulePublisher("tcp://127.0.0.1:*", 1000)
        disk, live = shares(SLOTS)
        self.outputs = Outputs(
            Stage(self.writer, enabled=True, share=disk), Stage(self.publisher, enabled=True, share=live), (folder,)
        )
        self.context = zmq.Context()
        self.subscriber = self.context.socket(zmq.SUB)
        self.subscriber.rcvtimeo = 20_000
        self.subscriber.subscribe(b"")
        self.subscriber.connect(self.publisher.address)
        self.pulse = 0

    def take(self, count: int, period_s: float = 0.002) -> None:
        """Receive frames and hand them on."""
        for _ in range(count):
            with self.pebble.claim(self.pulse, 1.0) as loan:
                lease = loan.freeze(FrameHead(self.pulse, 0, 0, 1, 0))
            self.outputs.offer(lease)
            self.pulse += 1
            time.sleep(period_s)

    def stats(self, output: str) -> OutputStats:
        s = self.outputs.stats()[output]
        assert s.offered == self.pulse == s.written + s.dropped + s.disabled + s.queued
        return s

    def subscribed(self) -> None:
        until(lambda: self.stats("zmq").subscribers == 1)

    def received(self, count: int) -> list[int]:
        return [int.from_bytes(self.subscriber.recv_multipart()[0][:8], "little") for _ in range(count)]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.outputs.close(5)
    rig.pebble.close()
    rig.context.destroy(linger=0)


def test_a_slow_disk_loses_its_own_frames_and_no_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    write, turn = rig.writer.write, threading.Semaphore(0)

    def slowly(leases):
        assert turn.acquire(timeout=20)
        return write(leases[:1])

    monkeypatch.setattr(rig.writer, "write", slowly)
    rig.subscribed()
    for n in range(1, 51):  # one frame written for four that come
        rig.take(4)
        turn.release()
        until(lambda n=n: rig.stats("disk").written == n and not rig.stats("zmq").queued)
    disk = rig.stats("disk")
    assert disk.state == "Behind"
    assert disk.dropped > 100
    assert disk.queued <= shares(SLOTS)[0]
    assert rig.received(200) == list(range(200))
    assert (rig.stats("zmq").dropped, rig.pebble.stats().misses) == (0, 0)
    turn.release(200)
    until(lambda: not rig.stats("disk").queued)
    assert rig.stats("disk").written == 200 - disk.dropped
    until(lambda: not rig.pebble.stats().in_use)


def test_a_file_system_that_hangs_stops_neither_reception_nor_snapshots(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, asked, over = threading.Event(), threading.Event(), threading.Event()

    def hang(path: Path):
        asked.set()
        goes_on.wait(60)
        over.set()
        return usage

    usage = shutil.disk_usage("/")
    monkeypatch.setattr("detectors.buffer.writer.CHECK_PERIOD_S", 0.0)
    monkeypatch.setattr(shutil, "disk_usage", hang)
    rig.subscribed()
    assert asked.wait(20), "the disk's thread looks at the free space by itself, and hangs"
    rig.take(SLOTS * 4, 0.0)
    for _ in range(100):
        disk = rig.stats("disk")
    assert (disk.state, disk.written, disk.queued) == ("Behind", 0, shares(SLOTS)[0])
    assert disk.dropped == SLOTS * 4 - disk.queued
    assert rig.pebble.stats().misses == 0
    assert not rig.outputs.close(0.3)
    assert not over.is_set()
    disk = rig.stats("disk")
    assert (disk.written, disk.dropped, disk.queued) == (0, SLOTS * 4, 0)
    assert rig.pebble.stats().in_use == 0
    goes_on.set()


def test_a_publisher_that_breaks_begins_afresh(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.outputs.health.RETRY_S", 0.5)
    rig.subscribed()
    rig.publisher._publisher.socket.close()  # whatever the reason
    rig.take(1)
    failed = until(lambda: rig.stats("zmq"), lambda zmq: zmq.errors)
    assert (failed.state, failed.dropped) == ("Failed", 1)
    assert failed.message.startswith("ZMQError")
    deadline = time.monotonic() + 10
    while not rig.subscriber.poll(0):  # it has reconnected to the same address
        assert time.monotonic() < deadline
        rig.take(1, 0.01)
    disk = rig.stats("disk")
    assert (disk.errors, disk.disabled) == (0, 0)
    assert disk.written > 1
    until(lambda: not rig.pebble.stats().in_use)


def test_a_new_subscriber_gets_frames_soon_while_data_flows(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.outputs.stage.IDLE_S", 60.0)
    rig.subscriber.close()
    rig.take(300)
    late = rig.context.socket(zmq.SUB)
    late.subscribe(b"")
    late.connect(rig.publisher.address)
    deadline = time.monotonic() + 20
    while not late.poll(0):
        assert time.monotonic() < deadline
        rig.take(1)
    late.close(linger=0)


def test_records_are_not_moved_out_of_the_roots(
    rig: Rig, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "D").symlink_to(outside)
    (tmp_path / "b" / "D").mkdir()
    (tmp_path / "b" / "D" / "M00").symlink_to(outside)
    for folder in (outside, tmp_path / "a", tmp_path / "b"):
        with pytest.raises(CommandError, match=f"expected a place below the roots {tmp_path}$"):
            rig.outputs.set_folder(str(folder)).result(20)
    assert rig.outputs.set_folder(f"{tmp_path}/c/../d").result(20) == f"{tmp_path}/d"
    assert rig.writer.folder == tmp_path / "d" / "D"
    assert list(outside.iterdir()) == []
