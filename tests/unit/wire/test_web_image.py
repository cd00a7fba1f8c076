"""Images as browsers get them: values that come back as they were, and what is said of them."""

import struct

import numpy as np
import pytest

from detectors.errors import WireError
from detectors.image_head import ImageHead
from detectors.wire.web_image import Bits, decode_web, encode_web, flat_image, scaled
from tests.support.images import image


@pytest.mark.parametrize(
    ("dtype", "low", "high", "bits"),
    [
        ("uint8", 0, 255, 8),
        ("uint8", 0, 255, 16),
        ("uint16", 0, 65535, 16),
        ("int16", -32768, 32767, 16),
        ("int8", -128, 127, 8),
        ("uint16", 60000, 60255, 8),
        ("int32", -70000, -5000, 16),
        ("uint32", 4_294_900_000, 4_294_960_000, 16),
        ("int64", -(2**63), -(2**63) + 9, 8),
        ("uint64", 2**64 - 200, 2**64 - 1, 8),
    ],
)
def test_integers_that_fit_come_back_exactly(dtype: str, low: int, high: int, bits: Bits) -> None:
    values = np.random.default_rng(5).integers(low, high, (7, 9), dtype=dtype, endpoint=True)
    values[0, :2] = low, high
    found = scaled(values, bits)
    assert found.exact
    assert [[int(found.offset) + int(found.scale) * int(p) for p in row] for row in found.pixels] == values.tolist()


@pytest.mark.parametrize("dtype", ["int32", "uint64", "int64", "float32", "float64"])
def test_other_values_come_back_to_the_step_of_16_bits(dtype: str) -> None:
    values = image(dtype, (40, 50), 3)
    found = scaled(values, 16)
    assert not found.exact
    step = (float(values.max()) - float(values.min())) / 65535
    assert abs(found.offset + found.scale * found.pixels.astype(float) - values.astype(float)).max() <= 0.51 * step


def test_hot_pixels_do_not_darken_the_others_in_8_bits() -> None:
    values = np.random.default_rng(1).integers(100, 1100, (300, 300)).astype("uint16")
    values[5, 5], values[9, 9] = 65535, 0
    found = scaled(values, 8)
    assert found.pixels[5, 5] == 255
    assert found.pixels[9, 9] == 0
    assert 90 <= found.offset <= 110
    assert 990 < 255 * found.scale < 1010


def test_numbers_that_are_not_finite_have_a_place() -> None:
    found = scaled(np.array([[np.nan, np.inf, -np.inf, 1.0, 2.0]]), 16)
    assert found.pixels.tolist() == [[0, 65535, 0, 0, 65535]]
    assert scaled(np.full((2, 2), np.nan), 8).pixels.tolist() == [[0, 0], [0, 0]]
    assert scaled(np.full((2, 2), 7.5), 8).offset == 7.5


@pytest.mark.parametrize(
    ("shape", "most", "small", "factor"),
    [
        ((1024, 1024), 1 << 18, (512, 512), 2),
        ((100, 50), 5000, (100, 50), 1),
        ((4000,), 1000, (1, 1000), 4),
        ((5, 8, 10), 80, (8, 10), 1),
        ((8, 10, 3), 20, (4, 5, 3), 2),
        ((3, 8, 10), 20, (4, 5, 3), 2),
    ],
)
def test_every_image_becomes_rows_and_columns(
    shape: tuple[int, ...], most: int, small: tuple[int, ...], factor: int
) -> None:
    found, by = flat_image(image("uint16", shape, 1), most)
    assert (found.shape, by) == (small, factor)


def test_a_message_has_the_pixels_aligned_and_what_is_known_of_them() -> None:
    full = image("uint16", (64, 32), 2)
    small, factor = flat_image(full, 512)
    head = ImageHead(2**60 + 1, 17, 1, is_good_frame=False, present=1, timestamp_ns=1_700_000_000_250_000_000)
    message = encode_web(scaled(small, 16), head, factor=factor, full=full, modules_missing=1, now_ns=5_000_000)
    assert (4 + struct.unpack_from("<I", message)[0]) % 8 == 0
    found, pixels = decode_web(message)
    assert (pixels == full[1::2, 1::2]).all()
    assert found["pulse_id"] == str(2**60 + 1)
    assert (found["factor"], found["full"], found["dtype"], found["exact"]) == (2, [64, 32], "uint16", True)
    assert (found["time_ms"], found["sent_ms"]) == (1_700_000_000_250, 5)
    assert (found["good"], found["modules_missing"]) == (False, 1)


@pytest.mark.parametrize("message", [b"", b"\1\0\0\0x", b"\2\0\0\0{}", b'\4\0\0\0"ab"'])
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(WireError, match=r"found .* bytes that are not one"):
        decode_web(message)
