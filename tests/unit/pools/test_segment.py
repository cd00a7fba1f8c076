import contextlib

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from detectors.errors import HostError, SizingError
from detectors.frame import FILE_MOD, FRAME_HEAD, MODULE_FRAME, RecordShape
from detectors.pools.region import PAGE
from detectors.pools.segment import ENTRY_BODY, SEGMENT_HEADER, SLOT_ENTRY, SegmentLayout, least_slot_bytes

layouts = st.builds(
    lambda data, align, exponent, extra, step: SegmentLayout(
        shape := RecordShape(data, align),
        1 << exponent,
        least_slot_bytes(shape) + extra * PAGE,
        step,
        {"detector": "JF", "shape": [data]},
    ),
    st.integers(0, 1 << 36),
    st.sampled_from([1, 512, 4096]),
    st.integers(1, 8),
    st.integers(0, 3),
    st.integers(1, 10_000),
)


@given(layouts, st.integers(0, (1 << 64) - 1))
def test_every_record_lies_in_its_slot_aligned_as_in_its_file(layout: SegmentLayout, pulse_id: int):
    shape = layout.shape
    slot = layout.slot_of(pulse_id)
    start = layout.slots_offset + slot * layout.slot_bytes
    place = shape.place(pulse_id)
    assert 0 <= slot < layout.count
    assert start % shape.align == 0
    assert start % PAGE == 0
    assert (start + place) % shape.align == shape.file_offset(pulse_id) % shape.align
    end_of_sectors = -(-(place + shape.record_bytes) // shape.align) * shape.align
    assert end_of_sectors <= layout.slot_bytes - 4
    assert layout.table_offset >= SEGMENT_HEADER.itemsize + len(layout.info_json)
    assert layout.slots_offset >= layout.table_offset + layout.count * SLOT_ENTRY.itemsize
    assert start + layout.slot_bytes <= layout.nbytes


@given(layouts, st.integers(0, 1 << 50))
def test_consecutive_pulses_take_every_slot_in_turn(layout: SegmentLayout, first: int):
    assume(first + layout.count * layout.pulse_id_step < 1 << 64)
    slots = [layout.slot_of(first + i * layout.pulse_id_step) for i in range(layout.count)]
    assert sorted(slots) == list(range(layout.count))


def test_the_axis_pebble_is_addressed_in_64_bits():
    layout = SegmentLayout(RecordShape(74 << 20), 128, 84 << 20, 1, {})
    assert layout.count * layout.slot_bytes == 128 * (84 << 20) == 10.5 * (1 << 30)
    last = layout.slots_offset + 127 * layout.slot_bytes
    assert last > 1 << 33
    assert last + layout.slot_bytes == layout.nbytes


def test_an_entry_is_what_numpy_says_it_is():
    entry = np.zeros((), SLOT_ENTRY)
    values = (1, 2, 3, 4, 5, 6, 7, 8, 9, bytes(range(64)), 1)
    buffer = bytearray(SLOT_ENTRY.itemsize)
    ENTRY_BODY.pack_into(buffer, 8, *values)
    entry = np.frombuffer(buffer, SLOT_ENTRY)[0]
    head = entry["head"]
    assert head.dtype == FRAME_HEAD
    assert [head[name] for name in MODULE_FRAME.names or ()] == [1, 2, 3, 4, 5]
    assert [head[name] for name in ("timestamp_ns", "detector_time", "damage", "expected_packets")] == [6, 7, 8, 9]
    assert head["missing"].tobytes() == bytes(range(64))
    assert entry["valid"] == 1


def test_write_and_read_agree():
    layout = SegmentLayout(RecordShape(1000, 512), 4, 3 * PAGE, 7, {"name": "JF", "shape": [10, 50]})
    memory = np.zeros(layout.nbytes, np.uint8)
    layout.write(memory, 4711)
    assert SegmentLayout.read(memory, "x") == (layout, 4711)


@pytest.mark.parametrize(
    ("count", "slot_bytes", "step", "message"),
    [
        (3, 3 * PAGE, 1, "power of two"),
        (1, 3 * PAGE, 1, "power of two"),
        (0, 3 * PAGE, 1, "power of two"),
        (4, PAGE, 1, "at least"),
        (4, 3 * PAGE + 1, 1, "whole pages"),
        (4, 3 * PAGE, 0, "pulse_id_step"),
    ],
)
def test_sizes_against_the_rules_are_refused(count: int, slot_bytes: int, step: int, message: str):
    with pytest.raises(SizingError, match=message):
        SegmentLayout(RecordShape(5000), count, slot_bytes, step, {})


@pytest.mark.parametrize("align", [0, 3, 1536, 8192])
def test_sectors_that_memory_cannot_follow_are_refused(align: int):
    with pytest.raises(SizingError, match="align"):
        SegmentLayout(RecordShape(5000, align), 4, 1 << 20, 1, {})


def test_the_sentinel_has_room_where_sectors_end_with_the_page():
    shape = RecordShape(PAGE * 2 - 41 - 4095)
    assert shape.span_bytes == PAGE * 2
    assert least_slot_bytes(shape) == PAGE * 3


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=20))
def test_a_damaged_header_is_refused_or_read_never_worse(changes: list[tuple[int, int]]):
    layout = SegmentLayout(RecordShape(1000), 4, 3 * PAGE, 1, {"name": "JF"})
    memory = np.zeros(layout.nbytes, np.uint8)
    layout.write(memory, 1)
    for place, value in changes:
        memory[place] = value
    with contextlib.suppress(HostError):
        read, _ = SegmentLayout.read(memory, "x")
        assert read.nbytes <= memory.size


@pytest.mark.parametrize("nbytes", [0, 1, 127, 128, PAGE])
def test_memory_that_is_no_pebble(nbytes: int):
    with pytest.raises(HostError):
        SegmentLayout.read(np.zeros(nbytes, np.uint8), "x")


def test_a_file_holds_whole_records():
    assert FILE_MOD * RecordShape(1 << 20).record_bytes + 1 == 1_048_617_001
