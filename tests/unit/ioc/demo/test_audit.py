import time
from dataclasses import replace

import numpy as np
import pytest

from detectors.stats import FrameStats, MonitorStatus, OutputStats, PacketStats, ReceiverStatus, UpdateStats
from ioc.demo.audit import (
    ReadBack,
    Sent,
    compare_camera,
    compare_disk,
    compare_module,
    compare_restarted,
    read_back,
    switched_off,
)
from sim.pattern import first_mismatch, frame_pattern, missing_flags
from tests.unit.buffer.make import RawBuffer

PACKETS = 8
SHAPE = (8, 16)


def mismatch(data, pulse_id, module_id, mask):
    missing = missing_flags(mask, PACKETS) if mask else None
    return first_mismatch(data, pulse_id, module_id, data.shape, data.dtype, missing=missing)


@pytest.fixture
def buffer(tmp_path):
    return RawBuffer(tmp_path / "DET", ("M00",), SHAPE)


def put(buffer, pulse, *, missing=(), packets=None, sidecar=True):
    image = frame_pattern(pulse, 0, SHAPE, "uint16")
    image[list(missing)] = 0
    mask = np.zeros(256, np.uint8)
    mask[list(missing)] = 1
    buffer.put(
        "M00",
        pulse,
        data=image.tobytes(),
        packets=PACKETS - len(missing) if packets is None else packets,
        missing=np.packbits(mask, bitorder="little").tobytes(),
        sidecar=sidecar,
    )


def look(buffer, start, stop, step=1, first_frame=None):
    sent = Sent(buffer.folder, "M00", range(start, stop, step), PACKETS, first_frame)
    return read_back(sent, mismatch)


def test_after_the_time_for_it_frames_are_counted_and_not_compared(buffer):
    for pulse in range(995, 1005):
        put(buffer, pulse)
    seen = []

    def slow(data, *head):
        time.sleep(0.05)
        return mismatch(data, *head)

    sent = Sent(buffer.folder, "M00", range(995, 1005), PACKETS)
    found = read_back(sent, slow, compare_s=0.12, progress=lambda *done: seen.append(done))
    assert (found.frames, found.wrong) == (10, 0)
    assert found.uncompared >= 7
    assert found.bytes == 256 * len(found.good) == 256 * (10 - found.uncompared)
    assert seen == [(n, 10) for n in range(10)]


def test_what_was_sent_is_found(buffer):
    for pulse in range(995, 1005):
        put(buffer, pulse)
    found = look(buffer, 995, 1005, first_frame=1002)  # the records say pulse + 7
    assert (found.frames, found.incomplete, found.wrong, found.problems) == (10, 0, 0, [])
    assert found.bytes == 10 * 256


def test_pulses_that_are_not_there_are_not_counted(buffer):
    put(buffer, 20)
    put(buffer, 40)
    assert look(buffer, 10, 50, 10).frames == 2
    assert look(buffer, 10, 10).frames == 0


def test_missing_packets_must_be_zero_and_marked(buffer):
    put(buffer, 1, missing=(2, 5))
    put(buffer, 2, missing=(2,), packets=6)
    put(buffer, 3, missing=(2,), sidecar=False)
    found = look(buffer, 1, 4)
    assert (found.frames, found.incomplete, found.wrong) == (3, 3, 2)
    assert "found 6 packets and 1 marked as missing" in found.problems[0]
    assert "no word of which are missing" in found.problems[1]


def test_a_wrong_pixel_a_wrong_frame_and_a_wrong_place_are_found(buffer):
    for pulse in (1, 2, 3):
        put(buffer, pulse)
    at = 2 * buffer.record_bytes + 41 + 2 * 77
    buffer.poke(buffer.path("M00", 2), at, b"\x00\x00")
    found = look(buffer, 1, 4)
    assert found.problems == ["M00: pulse 2: pixel 77 is wrong"]
    assert "found frame_index 8, expected 1" in look(buffer, 1, 4, first_frame=1).problems[0]


def test_a_folder_that_is_no_detectors_is_a_problem(tmp_path):
    found = read_back(Sent(tmp_path / "none", "M00", range(1, 5), PACKETS), mismatch)
    assert (found.frames, found.wrong) == (0, 1)


def receiver():
    return ReceiverStatus(
        packets=PacketStats(received=78, placed=76, duplicate=2, kernel_dropped=4, expected=80, lost=4),
        frames=FrameStats(complete=8, incomplete=2, delivered=10),
        disk=OutputStats(name="disk", offered=10, written=10, durable=10),
    )


def test_losses_that_were_counted_agree():
    sent = {"packets": 82, "frames": 10}
    assert all(line.agrees for line in compare_module("M00", sent, receiver()))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"received": 77, "placed": 75, "expected": 79}, "received"),
        ({"lost": 5, "expected": 81}, "lost"),
        ({"duplicate": 3}, "balance"),
    ],
)
def test_a_loss_that_was_not_counted_shows(change, what):
    status = receiver()
    status = replace(status, packets=replace(status.packets, **change))
    wrong = [line.what for line in compare_module("M00", {"packets": 82, "frames": 10}, status) if not line.agrees]
    assert wrong
    assert what in wrong[0]


def test_camera_timing_and_disk_are_compared():
    updates = UpdateStats(updates=11, match=9, discarded_disabled=1, exhausted=1, l1_accepts=10, placed=9, timed_out=1)
    status = MonitorStatus(
        updates=updates, disk=OutputStats(name="disk", offered=9, written=8, dropped=1, durable=7, unsynced=1)
    )
    lines = compare_camera("CAM", {"images": 10}, {"l1_accepts": 10}, 1, status)
    assert all(line.agrees for line in lines)
    assert not all(line.agrees for line in compare_camera("CAM", {"images": 10}, {"l1_accepts": 11}, 1, status))
    found = ReadBack(frames=5)
    assert all(line.agrees for line in compare_disk("CAM", status, 3, found))
    assert not all(line.agrees for line in compare_disk("CAM", status, 0, found))
    found.add_problem("one")
    assert not all(line.agrees for line in compare_disk("CAM", status, 3, found))


def test_what_came_too_late_is_counted_too():
    status = receiver()
    packets = replace(status.packets, placed=status.packets.placed - 2, late=2, lost=status.packets.lost + 2)
    assert all(
        line.agrees for line in compare_module("M00", {"packets": 82, "frames": 10}, replace(status, packets=packets))
    )
    updates = UpdateStats(updates=10, match=9, too_old=1, l1_accepts=10, placed=9, timed_out=1)
    assert all(
        x.agrees for x in compare_camera("CAM", {"images": 10}, {"l1_accepts": 10}, 0, MonitorStatus(updates=updates))
    )


def test_what_a_user_switched_off_still_agrees():
    status = receiver()
    cut = replace(
        status,
        packets=PacketStats(received=80, placed=50, disabled=30, expected=56, lost=6),
        frames=FrameStats(complete=6, incomplete=1, delivered=7),
        disk=OutputStats(name="disk", offered=7, written=4, disabled=3, durable=4),
    )
    assert not switched_off(status, 0)
    assert switched_off(cut, 0)
    assert all(line.agrees for line in compare_module("M00", {"packets": 80, "frames": 10}, cut))
    assert all(line.agrees for line in compare_disk("M00", cut, 0, ReadBack(frames=4)))


def test_of_a_restarted_worker_the_balance_and_the_pixels_are_compared():
    assert all(line.agrees for line in compare_restarted("M00", receiver(), ReadBack(frames=3)))
    assert not all(line.agrees for line in compare_restarted("M00", receiver(), ReadBack(frames=3, wrong=1)))
