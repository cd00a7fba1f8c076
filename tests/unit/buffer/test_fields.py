import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.buffer.fields import Field, field_names
from detectors.buffer.image import Frame
from detectors.buffer.registration import DetectorInfo, read_detector, register_module
from detectors.errors import BufferReadError, ConfigError
from detectors.frame import FrameHead

IMAGE = Field("image", "uint16", (2, 3), 0, 12)
SPECTRUM = Field("spectrum", "float64", (2,), 12, 16)


def register(folder: Path, *fields: Field) -> DetectorInfo:
    return register_module(folder, DetectorInfo("uint8", (28,), 28, ("M00",), fields))


def test_fields_are_told_to_readers(tmp_path: Path) -> None:
    register(tmp_path, IMAGE, SPECTRUM)
    assert read_detector(tmp_path).fields == (IMAGE, SPECTRUM)
    assert json.loads((tmp_path / "detector.json").read_text())["fields"][1] == {
        "name": "spectrum",
        "dtype": "float64",
        "shape": [2],
        "offset": 12,
    }
    assert register(tmp_path, IMAGE, SPECTRUM).fields == (IMAGE, SPECTRUM)


def test_a_folder_of_other_fields_is_refused(tmp_path: Path) -> None:
    register(tmp_path, IMAGE, SPECTRUM)
    with pytest.raises(
        ConfigError, match=r"image \[2, 3\] uint16 at 0, .*M00 sends \[28\] uint8 \(28 bytes\); choose another"
    ):
        register(tmp_path)


def test_without_fields_the_file_says_nothing_of_them(tmp_path: Path) -> None:
    register(tmp_path)
    assert "fields" not in json.loads((tmp_path / "detector.json").read_text())
    assert read_detector(tmp_path).fields == ()


def test_a_frame_gives_its_fields() -> None:
    data = np.arange(28, dtype=np.uint8)
    frame = Frame("M00", FrameHead(1, 1, 0, 2, 0), data, (IMAGE, SPECTRUM))
    np.testing.assert_array_equal(frame.field("image"), data[:12].view("<u2").reshape(2, 3))
    np.testing.assert_array_equal(frame.field("spectrum"), data[12:].view("<f8"))
    assert np.shares_memory(frame.field("spectrum"), data)
    with pytest.raises(BufferReadError, match="no field 'laser', expected one of: image, spectrum"):
        frame.field("laser")
    with pytest.raises(BufferReadError, match="expected one of: none: its data is one array"):
        Frame("M00", FrameHead(1, 1, 0, 2, 0), data).field("image")


@pytest.mark.parametrize(
    "field",
    [
        {"name": "a", "dtype": "uint16", "shape": [8], "offset": 13},
        {"name": "a", "dtype": "uint16", "shape": [8], "offset": -1},
        {"name": "a", "dtype": "uint16", "shape": [0], "offset": 0},
        {"name": "a", "dtype": "pixels", "shape": [1], "offset": 0},
        {"name": "a", "shape": [1], "offset": 0},
        {"name": "a", "dtype": "uint16", "shape": 1, "offset": 0},
        7,
    ],
)
def test_damaged_fields_are_one_line(tmp_path: Path, field: Any) -> None:
    tree = {"dtype": "uint8", "shape": [28], "data_bytes": 28, "modules": ["M00"], "fields": [field]}
    (tmp_path / "detector.json").write_text(json.dumps(tree))
    with pytest.raises(BufferReadError, match=r"detector\.json: found .*expected ") as caught:
        read_detector(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@given(st.lists(st.sampled_from(["A", "B", "A_1", "A_2", "A_2_2"]), max_size=64))
def test_every_pv_has_a_name_of_its_own(aliases: list[str]) -> None:
    names = field_names(aliases)
    assert len(set(names)) == len(aliases)
    for number, alias in enumerate(aliases):
        assert names[number].startswith(alias)
        if alias not in names[:number]:
            assert names[number] == alias


@given(
    st.builds(
        Field,
        st.text(min_size=1),
        st.sampled_from(["uint8", "int32", "float64"]),
        st.lists(st.integers(1, 9), max_size=4).map(tuple),
        st.integers(0, 1 << 40),
        st.just(0),
    )
)
def test_a_field_survives_json(field: Field) -> None:
    again = Field.from_dict(json.loads(json.dumps(field.as_dict())))
    assert (again.name, again.dtype, again.shape, again.offset) == (field.name, field.dtype, field.shape, field.offset)
    assert again.nbytes == int(np.prod(again.shape)) * np.dtype(again.dtype).itemsize
