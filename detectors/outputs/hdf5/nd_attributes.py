"""The named values that are kept for every image of a file: areaDetector's NDAttributes.

::

    /entry/instrument/NDAttributes/<name>   [n], one value an image

A list of them is XML, as areaDetector's drivers and plugins take it. ``type="PARAM"`` names a value of the image (``SOURCES``),
``type="EPICS_PV"`` a PV, whose value at the time is kept, and ``type="CONST"`` a text. Source: ADCore, NDAttributeList and NDFileHDF5.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree as ET

import h5py
import numpy as np

from detectors.errors import ConfigError
from detectors.image_head import ImageHead
from detectors.wire.ntndarray import EPICS_EPOCH_S

GROUP: Final = "entry/instrument/NDAttributes"

CHUNK: Final = 16384
"""Values in a chunk, as areaDetector has it."""

Value = Callable[[ImageHead], Any]

_TEXT: Final = np.dtype("S256")

SOURCES: Final[Mapping[str, tuple[np.dtype, Value]]] = {
    "PULSE_ID": (np.dtype("<i8"), lambda head: head.pulse_id),
    "FRAME_INDEX": (np.dtype("<i8"), lambda head: head.frame_index),
    "TIMESTAMP": (np.dtype("<f8"), lambda head: head.timestamp_ns / 1e9),
    "PACKETS_MISSING": (np.dtype("<i4"), lambda head: head.packets_missing),
    "DAMAGE": (np.dtype("<i4"), lambda head: head.damage),
    "IS_GOOD": (np.dtype("<i4"), lambda head: head.is_good_frame),
    "FILLED": (np.dtype("<i4"), lambda head: head.present == 0),
}
"""What an attribute of type PARAM can be, with its type in a file."""

_DBR: Final = {
    "DBR_SHORT": "<i2", "DBR_ENUM": "<i2", "DBR_INT": "<i4", "DBR_LONG": "<i4", "DBR_FLOAT": "<f4",
    "DBR_DOUBLE": "<f8", "DBR_NATIVE": "<f8", "DBR_STRING": "S40", "DBR_CHAR": "i1",
}  # fmt: skip
_DATATYPES: Final = {"INT": "<i4", "INT64": "<i8", "DOUBLE": "<f8", "STRING": "S40"}


@dataclass(frozen=True, slots=True)
class Attribute:
    """One named value of every image."""

    name: str
    dtype: np.dtype
    value: Value | None = None
    """Takes it from the head of an image; None: it is that of ``pv``, or ``text``."""
    pv: str = ""
    text: str = ""
    description: str = ""


def _own(name: str, source: str, dtype: str = "", value: Value | None = None) -> Attribute:
    default, take = SOURCES[source]
    return Attribute(name, np.dtype(dtype) if dtype else default, value or take)


ALWAYS: Final = (
    _own("PulseId", "PULSE_ID"),
    _own("Timestamp", "TIMESTAMP"),
    _own("PacketsMissing", "PACKETS_MISSING"),
    _own("Damage", "DAMAGE"),
    _own("IsGood", "IS_GOOD"),
    _own("NDArrayUniqueId", "FRAME_INDEX", "<i4", lambda head: head.frame_index & 0x7FFFFFFF),
    _own("NDArrayTimeStamp", "TIMESTAMP", "", lambda head: max(0.0, head.timestamp_ns / 1e9 - EPICS_EPOCH_S)),
)
"""Kept whether asked for or not. The last two are areaDetector's; its time counts from 1990."""


def parse_attributes(*lists: str) -> tuple[Attribute, ...]:
    """Return the attributes in some lists, ``ALWAYS`` before them; an empty text is a list without any.

    Of several with one name the last one holds. Raises ConfigError with every mistake.
    """
    found = (*ALWAYS, *(attribute for xml in lists if xml.strip() for attribute in _parse_list(xml)))
    return tuple({attribute.name: attribute for attribute in found}.values())


def _parse_list(xml: str) -> list[Attribute]:
    if "<!" in xml:  # no document type: its entities could make a text of any size
        raise ConfigError(
            "attributes: found a document type or a comment, expected elements <Attribute> in <Attributes>"
        )
    try:
        root = ET.fromstring(xml)  # noqa: S314
    except ET.ParseError as error:
        raise ConfigError(f"attributes: found a text that is not XML ({error})") from None
    if root.tag != "Attributes":
        raise ConfigError(f"attributes: found <{root.tag}>, expected <Attributes>")
    found: list[Attribute] = []
    problems: list[str] = []
    for element in root:
        try:
            found.append(_parse(element))
        except ValueError as error:
            problems.append(f"attributes: {element.attrib.get('name', element.tag)}: {error}")
    if problems:
        raise ConfigError(*problems)
    return found


def _parse(element: ET.Element) -> Attribute:
    """Return one attribute. Raises ValueError with what is wrong."""
    if element.tag != "Attribute":
        raise ValueError(f"found <{element.tag}>, expected <Attribute>")
    given = element.attrib
    name, source, description = given.get("name", ""), given.get("source", ""), given.get("description", "")
    if not name or "/" in name or name == ".":
        raise ValueError(f"found the name {name!r}, expected one without a slash")
    match given.get("type", "EPICS_PV"):
        case "PARAM":
            if source not in SOURCES:
                raise ValueError(f"found the source {source!r}, expected one of {', '.join(SOURCES)}")
            datatype = given.get("datatype", "")
            if datatype and datatype not in _DATATYPES:
                raise ValueError(f"found the datatype {datatype!r}, expected one of {', '.join(_DATATYPES)}")
            dtype, value = SOURCES[source]
            return Attribute(name, np.dtype(_DATATYPES.get(datatype, dtype)), value, description=description)
        case "EPICS_PV":
            kind = given.get("dbrtype", "DBR_NATIVE")
            if kind not in _DBR:
                raise ValueError(f"found the dbrtype {kind!r}, expected one of {', '.join(_DBR)}")
            if not source:
                raise ValueError("found no source, expected the name of a PV")
            return Attribute(name, np.dtype(_DBR[kind]), pv=source, description=description)
        case "CONST":
            return Attribute(name, _TEXT, text=source, description=description)
        case other:
            raise ValueError(f"found the type {other!r}, expected one of PARAM, EPICS_PV, CONST")


class AttributeColumns:
    """The datasets of the attributes in an open file."""

    def __init__(self, file: h5py.File, attributes: Sequence[Attribute]) -> None:
        self._attributes = attributes
        group = file.create_group(GROUP)
        group.attrs["NX_class"] = "NXcollection"
        self.datasets: list[h5py.Dataset] = []
        for attribute in attributes:
            dataset = group.create_dataset(attribute.name, (0,), attribute.dtype, maxshape=(None,), chunks=(CHUNK,))
            dataset.attrs["NDAttrName"] = attribute.name
            dataset.attrs["NDAttrSource"] = attribute.pv or attribute.name
            dataset.attrs["NDAttrDescription"] = attribute.description
            self.datasets.append(dataset)

    def append(self, first: int, images: Sequence[tuple[ImageHead, Mapping[str, Any]]]) -> None:
        """Write the values of images from row ``first`` on; each comes with the values of the PVs by name."""
        for attribute, dataset in zip(self._attributes, self.datasets, strict=True):
            values = [_value(attribute, head, pvs) for head, pvs in images]
            dataset.resize(first + len(images), axis=0)
            dataset[first:] = np.array(values, attribute.dtype)


def _value(attribute: Attribute, head: ImageHead, pvs: Mapping[str, Any]) -> Any:
    if attribute.value:
        found: Any = attribute.value(head)
    elif attribute.pv:
        found = pvs.get(attribute.pv)
    else:
        found = attribute.text
    if attribute.dtype.kind == "S":
        return str("" if found is None else found).encode()
    try:
        if attribute.dtype.kind == "f":
            return float("nan") if found is None else float(found)
        limits = np.iinfo(attribute.dtype)
        return max(int(limits.min), min(int(found), int(limits.max)))
    except (TypeError, ValueError, OverflowError):  # a PV that is not connected, or is no number
        return float("nan") if attribute.dtype.kind == "f" else 0
