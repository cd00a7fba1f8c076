"""The fields of NTNDArrays and of simpler normative types, read into an image's head.

Everything here is a function of decoded values: plain dicts, lists, numbers and arrays.
Sources: the EPICS Normative Types specification, and areaDetector's ntndArrayConverter for codec and colour.

On PVA every timeStamp counts seconds past the POSIX epoch (1970). Channel Access counts from 1990: ``ca_timestamp_ns``.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np

from detectors.errors import WireError

EPICS_EPOCH_S: Final = 631_152_000
"""1990-01-01 00:00:00 UTC in seconds past the POSIX epoch: the origin of Channel Access time."""

MAX_ARRAY_BYTES: Final = 4 << 30
"""Largest array accepted, bytes: above any camera, and small enough that one message cannot exhaust a machine."""

MAX_TIMESTAMP_NS: Final = (1 << 63) - 1
"""Latest time stamp, in the year 2262; later ones are clamped to it."""

MAX_DIMENSIONS: Final = 10
"""areaDetector's ND_ARRAY_MAX_DIMS."""

STRING_BYTES: Final = 256
"""Memory of a text value, UTF-8, filled up with zeros."""

PIXEL_DTYPES: Final = {
    "booleanValue": np.dtype(np.uint8),  # one byte, 0 or 1
    "byteValue": np.dtype(np.int8),
    "shortValue": np.dtype(np.int16),
    "intValue": np.dtype(np.int32),
    "longValue": np.dtype(np.int64),
    "ubyteValue": np.dtype(np.uint8),
    "ushortValue": np.dtype(np.uint16),
    "uintValue": np.dtype(np.uint32),
    "ulongValue": np.dtype(np.uint64),
    "floatValue": np.dtype(np.float32),
    "doubleValue": np.dtype(np.float64),
}
"""dtype in memory of each member of NTNDArray's union."""

CODEC_DTYPES: Final = tuple(PIXEL_DTYPES.values())
"""dtype of what was compressed, by ``codec.parameters``: pvData's ScalarType, 0 boolean to 10 double."""

HEAD_FIELDS: Final = ("codec", "uncompressedSize", "uniqueId", "timeStamp", "dimension", "attribute")
"""Fields that ``image_head`` reads."""


@dataclass(frozen=True, slots=True)
class ArrayHead:
    """All of an image but its pixels."""

    shape: tuple[int, ...]
    """Slowest dimension first."""
    dtype: np.dtype
    """Of the decompressed array, native byte order."""
    nbytes: int
    """Of the decompressed array."""
    codec: str = ""
    unique_id: int | None = None
    timestamp_ns: int = 0
    """POSIX, ns; 0 when never set."""
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])


def array_head(meta: Mapping[str, Any], wire_dtype: np.dtype, count: int) -> ArrayHead:
    """Return the head of an array of ``count`` elements from ``meta``, an NTNDArray's fields by name.

    ``wire_dtype`` is that of the union's selected member. Raises WireError when the fields contradict one another.
    """
    codec: Mapping[str, Any] = meta.get("codec") or {}
    name = str(codec.get("name") or "")
    if name:
        dtype = _codec_dtype(name, codec.get("parameters"))
        nbytes = _whole(meta.get("uncompressedSize"), "uncompressedSize")
    else:
        dtype, nbytes = wire_dtype, count * wire_dtype.itemsize
    if nbytes > MAX_ARRAY_BYTES:
        raise WireError(f"NTNDArray: found an array of {nbytes} bytes, expected at most {MAX_ARRAY_BYTES}")
    return ArrayHead(
        shape=array_shape(meta.get("dimension") or (), nbytes, dtype),
        dtype=dtype,
        nbytes=nbytes,
        codec=name,
        unique_id=_unique_id(meta),
        timestamp_ns=timestamp_ns(meta.get("timeStamp")),
        attributes=attributes(meta.get("attribute") or ()),
    )


class ArrayHeads:
    """Reads the heads of one PV's arrays as ``array_head`` does; parts that are the very ones of the last head are not read again."""

    def __init__(self) -> None:
        self._array: tuple[Any, ...] = ()
        self._parts: tuple[Any, ...] = ()
        self._last: ArrayHead | None = None

    def read(self, meta: Mapping[str, Any], wire_dtype: np.dtype, count: int) -> ArrayHead:
        """Return the head of an array. Raises WireError as ``array_head`` does."""
        array = wire_dtype, count, meta.get("uncompressedSize")
        parts = meta.get("codec"), meta.get("dimension"), meta.get("attribute")
        last = self._last
        if last and array == self._array and all(map(operator.is_, parts, self._parts)):
            stamp_ns = timestamp_ns(meta.get("timeStamp"))
            return ArrayHead(
                last.shape, last.dtype, last.nbytes, last.codec, _unique_id(meta), stamp_ns, last.attributes
            )
        self._last = None
        self._array, self._parts, self._last = array, parts, array_head(meta, wire_dtype, count)
        return self._last


def plain_head(meta: Mapping[str, Any], dtype: np.dtype, shape: tuple[int, ...]) -> ArrayHead:
    """Return the head of a value without NTNDArray's fields: only its time is known."""
    return ArrayHead(
        shape=shape,
        dtype=dtype,
        nbytes=math.prod(shape) * dtype.itemsize,
        timestamp_ns=timestamp_ns(meta.get("timeStamp")),
    )


def plain_value(
    value: Any, meta: Mapping[str, Any], name: str, *, as_text: bool = False
) -> tuple[np.ndarray, ArrayHead] | tuple[None, None]:
    """Return the bytes (uint8) and the head of ``value``; None twice when it is empty.

    A number is an array of shape (), int64 or float64 unless it is a numpy scalar; an enum (a mapping with ``index``)
    is its index as int32, or ``as_text`` its choice; text is uint8[STRING_BYTES], filled up with zeros. Raises WireError for
    anything else.
    """
    if value is None:
        return None, None
    if isinstance(value, Mapping) and "index" in value:
        value = _enum(cast("Mapping[str, Any]", value), name, as_text=as_text)
    if isinstance(value, str):
        encoded = value.encode()
        if len(encoded) > STRING_BYTES:
            raise WireError(f"{name}: found text of {len(encoded)} bytes, expected at most {STRING_BYTES}")
        array = np.frombuffer(encoded.ljust(STRING_BYTES, b"\0"), np.uint8)
    elif isinstance(value, (bool, int, float, np.number, np.bool_, np.ndarray)):
        array: np.ndarray = (
            np.ascontiguousarray(cast("Any", value)) if np.ndim(cast("Any", value)) else np.asarray(value)
        )
    else:
        found = (
            f"a structure of {', '.join(map(str, cast('Mapping[Any, Any]', value)))}"
            if isinstance(value, Mapping)
            else type(value).__name__
        )
        raise WireError(f"{name}: found {found}, expected a number, an enum, text, or an array of numbers")
    if array.dtype.kind == "b":
        array = array.view(np.uint8)
    if array.dtype.kind not in "iuf":
        raise WireError(f"{name}: found an array of {array.dtype}, expected numbers")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.size == 0:
        return None, None
    return array.reshape(-1).view(np.uint8), plain_head(meta, array.dtype, array.shape)


def _enum(value: Mapping[str, Any], name: str, *, as_text: bool) -> np.int32 | str:
    index = _whole(value["index"], f"{name}.index")
    if not as_text:
        return np.int32(index)
    choices: Sequence[str] = value.get("choices") or ()
    if not 0 <= index < len(choices):
        raise WireError(f"{name}: found choice {index}, expected one of {len(choices)}")
    return choices[index]


def array_shape(dimensions: Sequence[Mapping[str, Any] | None], nbytes: int, dtype: np.dtype) -> tuple[int, ...]:
    """Return the shape in memory, slowest first: ``dimension`` names the fastest first.

    Without dimensions the array is flat. Raises WireError when they do not give ``nbytes``.
    """
    if len(dimensions) > MAX_DIMENSIONS:
        raise WireError(f"NTNDArray: found {len(dimensions)} dimensions, expected at most {MAX_DIMENSIONS}")
    known = [d for d in dimensions if d is not None]
    if len(known) < len(dimensions):
        raise WireError("NTNDArray: found a null dimension, expected its size")
    sizes = tuple(_whole(d.get("size"), "dimension.size") for d in reversed(known))
    if not sizes and nbytes % dtype.itemsize == 0:
        return (nbytes // dtype.itemsize,)
    if not sizes or min(sizes) < 0 or math.prod(sizes) * dtype.itemsize != nbytes:
        raise WireError(f"NTNDArray: found {nbytes} bytes of {dtype}, expected those of its dimensions {list(sizes)}")
    return sizes


def timestamp_ns(stamp: Mapping[str, Any] | None) -> int:
    """Return a PVA ``time_t`` in ns past the POSIX epoch, 0 to MAX_TIMESTAMP_NS; 0 when it was never set."""
    if not stamp:
        return 0
    seconds = _whole(stamp.get("secondsPastEpoch", 0), "secondsPastEpoch")
    nanoseconds = _whole(stamp.get("nanoseconds", 0), "nanoseconds")
    return min(max(0, seconds * 1_000_000_000 + nanoseconds), MAX_TIMESTAMP_NS)


def ca_timestamp_ns(seconds: int, nanoseconds: int) -> int:
    """Return a Channel Access time stamp, seconds past 1990, in ns past the POSIX epoch; 0 when it was never set."""
    if seconds == 0 and nanoseconds == 0:
        return 0
    return (seconds + EPICS_EPOCH_S) * 1_000_000_000 + nanoseconds


def attributes(elements: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return NDAttributes by name; an attribute whose value is itself a normative type gives that type's value."""
    return {str(e.get("name", "")): _inner(e.get("value")) for e in elements if e is not None}


def _inner(value: Any) -> Any:
    fields: Mapping[str, Any] = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
    return fields.get("value", value)


def _unique_id(meta: Mapping[str, Any]) -> int | None:
    number = meta.get("uniqueId")
    return None if number is None else _whole(number, "uniqueId")


def _codec_dtype(codec: str, parameters: Any) -> np.dtype:
    """Return the dtype that was compressed; JPEG has only bytes, and its sources often leave the parameter out."""
    if parameters is None and codec == "jpeg":
        return np.dtype(np.uint8)
    if isinstance(parameters, (int, np.integer)) and 0 <= (number := int(cast("int", parameters))) < len(CODEC_DTYPES):
        return CODEC_DTYPES[number]
    raise WireError(
        f"NTNDArray: found codec.parameters {parameters!r} with codec {codec!r}, "
        f"expected a scalar type from 0 (boolean) to {len(CODEC_DTYPES) - 1} (double)"
    )


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, (int, np.integer)):
        raise WireError(f"NTNDArray: found {what} {value!r}, expected a whole number")
    return int(cast("int", value))
