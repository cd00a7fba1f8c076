import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.pixels import PIXEL_TYPES
from sim.pattern import check_frame, fill_pattern, first_mismatch, frame_pattern, missing_flags

SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)
TYPES = st.sampled_from(PIXEL_TYPES)
PULSES = st.integers(0, 2**48 - 1)
MODULES = st.integers(0, 0xFFFF)


@given(PULSES, MODULES, SHAPES, TYPES)
def test_a_frame_is_what_its_check_expects(pulse, module, shape, dtype):
    frame = frame_pattern(pulse, module, shape, dtype)
    assert frame.shape == shape
    assert frame.dtype == np.dtype(dtype).newbyteorder("<")
    assert check_frame(frame, pulse, module, shape, dtype)


@given(PULSES, MODULES, SHAPES, TYPES, st.data())
def test_any_single_changed_bit_is_found_at_its_pixel(pulse, module, shape, dtype, data):
    frame = frame_pattern(pulse, module, shape, dtype)
    flat = frame.reshape(-1).view(np.uint8)
    at = data.draw(st.integers(0, flat.size - 1))
    flat[at] ^= 1 << data.draw(st.integers(0, 7))
    assert first_mismatch(frame, pulse, module, shape, dtype) == at // frame.itemsize


@given(SHAPES, TYPES, PULSES, MODULES, st.data())
def test_holes_must_be_zero_and_only_holes_may(shape, dtype, pulse, module, data):
    shape = (4, *shape)
    missing = np.array(data.draw(st.lists(st.booleans(), min_size=4, max_size=4)))
    frame = frame_pattern(pulse, module, shape, dtype)
    frame[missing] = 0
    assert check_frame(frame, pulse, module, shape, dtype, missing=missing)
    if missing.any():
        hole = int(np.flatnonzero(missing)[0])
        frame[hole].reshape(-1)[0] = 1
        pixels_of_a_row = frame[0].size
        assert first_mismatch(frame, pulse, module, shape, dtype, missing=missing) == hole * pixels_of_a_row


@pytest.mark.parametrize("dtype", PIXEL_TYPES)
def test_no_two_packets_pulses_or_modules_look_alike(dtype):
    shape = (128, 4, 256)
    packets = [
        frame_pattern(pulse, module, shape, dtype)[p].tobytes()
        for pulse in (1, 2, 3, 1001)
        for module in (0, 1)
        for p in range(128)
    ]
    assert len(set(packets)) == len(packets)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_are_finite_and_vary(dtype):
    frame = frame_pattern(7, 1, (64, 64), dtype)
    assert np.isfinite(frame).all()
    assert ((frame >= 1) & (frame < 2)).all()
    assert np.unique(frame).size == frame.size


def test_the_pattern_itself_does_not_change():
    """Data recorded yesterday must check today."""
    frame = frame_pattern(12_345_999, 1, (2, 4), "uint16")
    assert frame.tolist() == [[42680, 22397, 42797, 37437], [42684, 22393, 42793, 37433]]


def test_unaligned_bytes_and_big_chunks_are_checked():
    shape, dtype = (300, 1001), "uint16"
    room = np.zeros(41 + 300 * 1001 * 2, np.uint8)
    room[41:] = frame_pattern(9, 2, shape, dtype).reshape(-1).view(np.uint8)
    assert check_frame(memoryview(room)[41:], 9, 2, shape, dtype)
    room[-1] ^= 1
    assert first_mismatch(bytes(room[41:]), 9, 2, shape, dtype) == 300 * 1001 - 1


def test_filling_in_place_is_the_same_and_wrong_sizes_are_refused():
    out = np.ones((8, 3), np.uint8)
    fill_pattern(out, 5, 6)
    assert (out == frame_pattern(5, 6, (8, 3), "uint8")).all()
    with pytest.raises(ValueError, match="found 24 bytes, expected 48"):
        check_frame(out, 5, 6, (8, 3), "uint16")


def test_mask_bytes_become_flags():
    assert missing_flags(b"\x05\x80", 16).nonzero()[0].tolist() == [0, 2, 15]
    assert not missing_flags(b"", 128).any()
    assert missing_flags(b"\x01" + bytes(31), 128).nonzero()[0].tolist() == [0]
