"""Lists of attributes, and their values in a file."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from detectors.errors import ConfigError
from detectors.image_head import ImageHead
from detectors.outputs.hdf5.live import FileImage, LiveFile
from detectors.outputs.hdf5.nd_attributes import ALWAYS, CHUNK, GROUP, parse_attributes
from detectors.outputs.hdf5.schema import FileLayout
from tests.support.hdf5 import dataset

LAYOUT = FileLayout("JF", ("M00",), (2, 4), np.dtype("<u2"))

XML = """<Attributes>
<Attribute name="pulse" type="PARAM" source="PULSE_ID" datatype="INT64" description="Pulse"/>
<Attribute name="energy" type="EPICS_PV" source="MONO:E" dbrtype="DBR_DOUBLE"/>
<Attribute name="shutter" type="EPICS_PV" source="SH:STATE" dbrtype="DBR_STRING"/>
<Attribute name="count" type="EPICS_PV" source="SC:N" dbrtype="DBR_LONG"/>
<Attribute name="sample" type="CONST" source="lysozyme"/>
</Attributes>"""


def test_every_image_has_its_values(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    file = LiveFile(path, LAYOUT, attributes=parse_attributes(XML), metadata={"count_time": 0.25})
    pvs = {"MONO:E": 12.4, "SH:STATE": "Open", "SC:N": 2**40}
    good = ImageHead(7, 3, 0, True, 1, 1_700_000_000_500_000_000)
    bad = ImageHead(8, 4, 0, False, 1, 0, packets_missing=5, damage=32, missing=(b"\x1f" + bytes(63),))
    pixels = np.ones(LAYOUT.image_shape, "<u2")
    file.append([FileImage(good, pixels, pvs), FileImage(bad, pixels)])
    file.close()
    with h5py.File(path) as read:
        group = read[GROUP]
        found = {name: group[name][:].tolist() for name in group}  # type: ignore[union-attr]
        assert found.pop("Timestamp") == [1_700_000_000.5, 0.0]
        assert found.pop("NDArrayTimeStamp") == [1_700_000_000.5 - 631_152_000, 0.0]
        energy = found.pop("energy")
        assert energy[0] == 12.4
        assert np.isnan(energy[1])
        assert found == {
            "PulseId": [7, 8],
            "PacketsMissing": [0, 5],
            "Damage": [0, 32],
            "IsGood": [1, 0],
            "NDArrayUniqueId": [3, 4],
            "pulse": [7, 8],
            "shutter": [b"Open", b""],
            "count": [2**31 - 1, 0],
            "sample": [b"lysozyme"] * 2,
        }
        assert all(group[name].chunks == (CHUNK,) for name in group)  # type: ignore[union-attr]
        assert read["entry/instrument/detector/count_time"][()] == 0.25  # type: ignore[index]
        masks = dataset(read, "data/JF/missing_packets")
        assert not masks[0].any()
        assert masks[1, 0, 0] == 0x1F


def test_an_empty_list_has_what_is_always_kept() -> None:
    assert parse_attributes("") == ALWAYS


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<Attributes>", "not XML"),
        ("<a/>", "expected <Attributes>"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><Attributes/>', "document type"),
        ('<Attributes><Attribute name="a/b" type="CONST"/></Attributes>', "without a slash"),
        ('<Attributes><Attribute name="a" type="PARAM" source="GAIN"/></Attributes>', "expected one of PULSE_ID"),
        ('<Attributes><Attribute name="a" type="PARAM" source="DAMAGE" datatype="X"/></Attributes>', "datatype"),
        ('<Attributes><Attribute name="a" source="X" dbrtype="DBR_X"/></Attributes>', "dbrtype"),
        ('<Attributes><Attribute name="a" type="EPICS_PV"/></Attributes>', "name of a PV"),
        ('<Attributes><Attribute name="a" type="FUNCTION" source="f"/></Attributes>', "expected one of PARAM"),
        ("<Attributes><Other/></Attributes>", "expected <Attribute>"),
    ],
)
def test_a_wrong_list_is_refused(xml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_attributes(xml)


def test_every_mistake_is_named() -> None:
    xml = '<Attributes><Attribute name="a" type="X"/><Attribute name="b" type="Y"/></Attributes>'
    with pytest.raises(ConfigError) as error:
        parse_attributes(xml)
    assert len(error.value.problems) == 2
