import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.pixels import PACKINGS, PIXEL_TYPES, FrameLayout


def bits_of(data: bytes, bits: int) -> list[int]:
    """The pixels of so many bits each, the first in the lowest bits."""
    number = int.from_bytes(data, "little")
    return [number >> bits * i & (1 << bits) - 1 for i in range(8 * len(data) // bits)]


@given(st.integers(1, 40).flatmap(lambda n: st.binary(min_size=3 * n, max_size=3 * n)))
def test_packed_pixels_are_those_of_the_format(data: bytes):
    count = len(data) * 2
    stored = np.frombuffer(data, np.uint8)
    assert FrameLayout((count,), "uint4").read(stored).tolist() == bits_of(data, 4)
    assert FrameLayout((count,), "uint4h").read(stored).tolist() == [int(digit, 16) for digit in data.hex()]
    assert FrameLayout((len(data) * 8 // 12,), "uint12p").read(stored).tolist() == bits_of(data, 12)


@given(st.sampled_from(list(PACKINGS)), st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False))
def test_what_is_packed_comes_back(dtype: str, rows: int, half: int, random):
    layout = FrameLayout((rows, 2 * half), dtype)
    most = 4095 if dtype == "uint12p" else 15
    pixels = np.array([[random.randint(0, most) for _ in range(2 * half)] for _ in range(rows)], layout.pixel_type)
    stored = layout.store(pixels)
    assert (stored.dtype, stored.nbytes) == (np.uint8, layout.data_bytes)
    np.testing.assert_array_equal(layout.read(stored), pixels)
    out = np.empty_like(pixels)
    layout.unpack(stored, out)
    np.testing.assert_array_equal(out, pixels)


@pytest.mark.parametrize(("dtype", "pixel", "nbytes"), [("uint4", "uint8", 64), ("uint12p", "uint16", 192)])
def test_packed_frames_have_their_own_size_and_type(dtype: str, pixel: str, nbytes: int):
    layout = FrameLayout((8, 16), dtype)
    assert (layout.is_packed, layout.pixel_type, layout.data_bytes) == (True, np.dtype(pixel), nbytes)


@pytest.mark.parametrize("dtype", PIXEL_TYPES)
def test_other_pixels_are_views(dtype: str):
    layout = FrameLayout((3, 5), dtype)
    stored = np.arange(layout.data_bytes, dtype=np.uint8)
    pixels = layout.read(stored)
    assert (pixels.dtype, pixels.shape) == (np.dtype(dtype), (3, 5))
    assert np.shares_memory(pixels, stored)
    assert np.shares_memory(layout.store(pixels), stored)


@pytest.mark.parametrize(("shape", "image"), [((512, 1024), (2048, 1024)), ((3, 4, 5), (12, 4, 5)), ((), (4,))])
def test_modules_are_joined_along_the_slowest_dimension(shape: tuple[int, ...], image: tuple[int, ...]):
    assert FrameLayout(shape, "uint16").image_shape(4) == image
