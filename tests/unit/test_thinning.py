import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.thinning import ColorMode, axes, binning, color_mode, colours_last, described, eight_bits, thinned


@pytest.mark.parametrize(
    ("shape", "mode", "y_x"),
    [
        ((5,), ColorMode.MONO, (0,)),
        ((4, 5), ColorMode.MONO, (0, 1)),
        ((4, 3), ColorMode.MONO, (0, 1)),
        ((7, 4, 5), ColorMode.MONO, (1, 2)),
        ((4, 5, 3), ColorMode.RGB1, (0, 1)),
        ((4, 3, 5), ColorMode.RGB2, (0, 2)),
        ((3, 4, 5), ColorMode.RGB3, (1, 2)),
    ],
)
def test_colours_and_axes_follow_from_the_shape(shape, mode, y_x):
    assert color_mode(shape) is mode
    assert axes(shape) == y_x


@given(
    shape=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    most=st.integers(1, 1000),
    size=st.none() | st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_an_image_is_thinned_below_its_limits_and_has_only_pixels_of_the_image(shape, most, size):
    image = np.arange(shape[0] * shape[1], dtype=np.uint32).reshape(shape)
    factor = binning(shape, most, size)
    small = thinned(image, factor)
    assert 1 <= small.size <= most
    if size:
        assert small.shape[1] <= size[0]
        assert small.shape[0] <= size[1]
    rows, columns = np.divmod(small, shape[1])
    assert (np.diff(rows, axis=0) == factor).all()
    assert (np.diff(columns, axis=1) == factor).all()


def test_no_smaller_factor_would_do():
    assert binning((1000, 1000), 1_000_000) == 1
    assert binning((1000, 1001), 1_000_000) == 2
    assert binning((16384, 4096), 1_000_000) == 9
    assert binning((100, 200), 10**9, (100, 100)) == 2


@pytest.mark.parametrize("shape", [(40, 60, 3), (40, 3, 60), (3, 40, 60)])
def test_colours_are_kept(shape):
    image = np.arange(40 * 60 * 3, dtype=np.uint16).reshape(shape)
    small = thinned(image, binning(shape, 3 * 600))
    assert colours_last(small).shape == (20, 30, 3)
    assert (colours_last(small) == thinned(colours_last(image), 2)).all()


def test_eight_bits_hold_the_range_of_values():
    assert eight_bits(np.array([[100, 200], [150, 355]], np.uint16)).tolist() == [[0, 100], [50, 255]]
    assert eight_bits(np.array([[7, 7]], np.int32)).tolist() == [[0, 0]]
    assert eight_bits(np.array([[np.nan, 0.0, 1.0, np.inf, -np.inf]])).tolist() == [[0, 0, 255, 255, 0]]
    same = np.array([[3, 9]], np.uint8)
    assert eight_bits(same) is same


def test_areadetectors_records_of_an_image():
    mono = described((4, 5), np.dtype("uint16"))
    assert [mono[f"size_{axis}"] for axis in "012xyz"] == [5, 4, 0, 5, 4, 0]
    assert (mono["dimensions"], mono["dtype"], mono["color_mode"]) == (2, "UInt16", "Mono")
    colour = described((4, 5, 3), np.dtype("float32"))
    assert [colour[f"size_{axis}"] for axis in "012xyz"] == [3, 5, 4, 5, 4, 3]
    assert (colour["dtype"], colour["color_mode"]) == ("Float32", "RGB1")
