import json
from pathlib import Path

import h5py
import numpy as np

from detectors.buffer.fields import Field
from detectors.buffer.registration import DetectorInfo
from detectors.outputs.hdf5.schema import FileLayout, make_group

FIELDS = (Field("image", "uint16", (2, 3), 0, 12), Field("spectrum", "float64", (2,), 12, 16))


def test_the_fields_of_an_event_are_told(tmp_path: Path) -> None:
    info = DetectorInfo("uint8", (28,), 28, ("M00",), fields=FIELDS)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = make_group(file, FileLayout.of("DET-CAM", ("M00",), info))
        assert [Field.from_dict(f) for f in json.loads(str(group.attrs["fields"]))] == list(FIELDS)


def test_a_single_array_has_none(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        assert "fields" not in make_group(file, FileLayout("D", ("M00",), (4, 8), np.dtype("<u2"))).attrs
