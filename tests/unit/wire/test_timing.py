import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import WireError
from detectors.run_state import Service
from detectors.wire.timing import TimingEvent, encode_timing, parse_timing

U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
events = st.builds(TimingEvent, st.sampled_from(Service), U64, U64, U64, U32, U32)


@given(events)
def test_what_was_encoded_is_parsed(event: TimingEvent) -> None:
    data = encode_timing(event)
    assert len(data) == 40
    assert parse_timing(data) == event
    assert parse_timing(memoryview(data)) == event


def test_the_layout_byte_by_byte() -> None:
    event = TimingEvent(Service.L1_ACCEPT, 0x1122334455667788, 1_700_000_000_123_456_789, 42, 7, 3)
    expected = struct.pack("<4sBBHQQQII", b"PTIM", 1, 12, 0, 0x1122334455667788, 1_700_000_000_123_456_789, 42, 7, 3)
    assert encode_timing(event) == expected


@given(st.one_of(st.binary(max_size=200), st.binary(min_size=35, max_size=35).map(lambda tail: b"PTIM\x01" + tail)))
def test_garbage_is_a_wire_error_or_an_event(data: bytes) -> None:
    with contextlib.suppress(WireError):
        assert encode_timing(parse_timing(data))[:6] == data[:6]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, 0, "found magic"),
        (4, 2, "found version 2, expected 1"),
        (5, 11, "found service 11"),
        (5, 200, "found service 200"),
    ],
)
def test_one_wrong_byte_is_named(place: int, value: int, message: str) -> None:
    data = bytearray(encode_timing(TimingEvent(Service.ENABLE, 1, 2, 3)))
    data[place] = value
    with pytest.raises(WireError, match=message):
        parse_timing(data)


@pytest.mark.parametrize("length", [0, 39, 41, 9000])
def test_a_wrong_length_is_named(length: int) -> None:
    with pytest.raises(WireError, match=f"found {length} bytes, expected 40"):
        parse_timing(bytes(length))
