import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import ConfigError
from detectors.mosaic import Chips, ModulePlace, Mosaic
from detectors.pixels import FrameLayout

FRAME = np.arange(1, 25, dtype=np.uint16).reshape(4, 6)
LAYOUT = FrameLayout((4, 6), "uint16")
CHIPS = Chips(2, 3, 1)
SPREAD = np.array([
    [1, 2, 3, 0, 4, 5, 6],
    [7, 8, 9, 0, 10, 11, 12],
    [0, 0, 0, 0, 0, 0, 0],
    [13, 14, 15, 0, 16, 17, 18],
    [19, 20, 21, 0, 22, 23, 24],
])  # fmt: skip


def image_of(mosaic: Mosaic, *frames: np.ndarray | None) -> np.ndarray:
    image = np.full(mosaic.shape, 0xEEEE, mosaic.pixel_type)
    mosaic.fill_gaps(image)
    for m, frame in enumerate(frames):
        mosaic.put(image, m, frame)
    return image


@pytest.mark.parametrize(
    ("flip", "rotate", "expected"),
    [
        ("none", 0, SPREAD),
        ("rows", 0, SPREAD[::-1]),
        ("columns", 0, SPREAD[:, ::-1]),
        ("none", 90, np.rot90(SPREAD, -1)),
        ("none", 180, SPREAD[::-1, ::-1]),
        ("none", 270, np.rot90(SPREAD, 1)),
        ("rows", 90, np.rot90(SPREAD[::-1], -1)),
        ("columns", 270, np.rot90(SPREAD[:, ::-1], 1)),
    ],
)
def test_a_module_is_spread_flipped_and_turned(flip: str, rotate: int, expected: np.ndarray):
    image = image_of(Mosaic(LAYOUT, [ModulePlace(2, 1, flip, rotate, CHIPS)]), FRAME)
    assert image.shape == (2 + expected.shape[0], 1 + expected.shape[1])
    np.testing.assert_array_equal(image[2:, 1:], expected)
    assert not image[:2].any()
    assert not image[:, :1].any()


def test_gaps_have_their_value_and_missing_modules_are_zero():
    mosaic = Mosaic(LAYOUT, [ModulePlace(0, 0, chips=CHIPS), ModulePlace(0, 8, chips=CHIPS)], 65535)
    image = image_of(mosaic, FRAME, None)
    gaps = np.ones((5, 15), bool)
    for left in (0, 4, 8, 12):
        gaps[0:2, left : left + 3] = gaps[3:5, left : left + 3] = False
    assert (image[gaps] == 65535).all()
    np.testing.assert_array_equal(image[:, :7][~gaps[:, :7]], FRAME.reshape(-1))
    assert not image[:, 8:][~gaps[:, 8:]].any()


PLACES = st.builds(
    ModulePlace,
    st.integers(0, 40),
    st.integers(0, 40),
    st.sampled_from(["none", "rows", "columns"]),
    st.sampled_from([0, 90, 180, 270]),
    st.sampled_from([CHIPS, Chips(), Chips(1, 2, 3), Chips(4, 0, 9)]),
)


@given(st.lists(PLACES, min_size=1, max_size=6))
def test_every_pixel_lies_in_an_image_once_or_the_places_overlap(places: list[ModulePlace]):
    frames = [(FRAME + 100 * m).astype(np.uint16) for m in range(len(places))]
    alone = [Mosaic(LAYOUT, [place]) for place in places]
    covered = np.zeros(np.max([m.shape for m in alone], axis=0), int)
    for place, one in zip(places, alone, strict=True):
        covered[place.row : one.shape[0], place.column : one.shape[1]] += 1
    if covered.max() > 1:
        with pytest.raises(ConfigError, match="overlap"):
            Mosaic(LAYOUT, places)
        return
    image = image_of(Mosaic(LAYOUT, places), *frames)
    found = np.sort(image[image > 0])
    np.testing.assert_array_equal(found, np.sort(np.concatenate([frame.reshape(-1) for frame in frames])))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"row": -1}, "row: found -1"),
        ({"column": 1 << 16}, "column: found 65536"),
        ({"column": 1.5}, "column: found 1.5"),
        ({"flip": "both"}, "flip: found 'both', expected one of none, rows, columns"),
        ({"flip": ["rows"]}, "flip: found"),
        ({"rotate": 45}, "rotate: found 45, expected one of 0, 90, 180, 270"),
    ],
)
def test_what_is_no_place_is_refused(place: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        ModulePlace(**({"row": 0, "column": 0} | place))  # type: ignore[arg-type]


def test_what_cannot_be_an_image_is_refused():
    with pytest.raises(
        ConfigError, match="0 and 2 overlap: rows 0 to 4, columns 0 to 6 and rows 4 to 8, columns 6 to 12"
    ):
        Mosaic(LAYOUT, [ModulePlace(0, 0, chips=CHIPS), ModulePlace(0, 7, chips=CHIPS), ModulePlace(4, 6, chips=CHIPS)])
    with pytest.raises(ConfigError, match="expected rows and columns"):
        Mosaic(FrameLayout((2, 3, 4), "uint16"), [ModulePlace(0, 0)])
    with pytest.raises(ConfigError, match="chip_cols: found 4, expected a divisor of 6"):
        Mosaic(LAYOUT, [ModulePlace(0, 0, chips=Chips(2, 4, 1))])
    for value in (-1, 65536, 1.5):
        with pytest.raises(ConfigError, match="expected a value of uint16"):
            Mosaic(LAYOUT, [ModulePlace(0, 0)], value)


@given(PLACES)
def test_a_place_is_the_same_after_json(place: ModulePlace):
    assert ModulePlace.from_dict(json.loads(json.dumps(asdict(place)))) == place
