"""Values that are no NTNDArray as arrays: scalars, enums, text, and arrays of numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from detectors.errors import WireError
from detectors.wire.ntndarray import STRING_BYTES, ImageHead, plain_head


def plain_value(value: Any, meta: Mapping[str, Any], name: str) -> tuple[np.ndarray, ImageHead] | tuple[None, None]:
    """Return the bytes (uint8) and the head of ``value``; None twice when there is nothing in it.

    A number is an array of shape (), int64 or float64 unless it is a numpy scalar; an enum (a mapping with ``index``)
    is its index as int32; text is uint8[STRING_BYTES], filled up with zeros. Raises WireError for anything else.
    """
    if value is None:
        return None, None
    if isinstance(value, Mapping) and "index" in value:
        value = np.int32(value["index"])
    if isinstance(value, str):
        array = _text(value, name)
    elif isinstance(value, (bool, int, float, np.number, np.bool_, np.ndarray)):
        array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
    else:
        raise WireError(f"{name}: found {_what(value)}, expected a number, an enum, text, or an array of numbers")
    if array.dtype.kind == "b":
        array = array.view(np.uint8)
    if array.dtype.kind not in "iuf":
        raise WireError(f"{name}: found an array of {array.dtype}, expected numbers")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.size == 0:
        return None, None
    return array.reshape(-1).view(np.uint8), plain_head(meta, array.dtype, array.shape)


def _text(value: str, name: str) -> np.ndarray:
    encoded = value.encode()
    if len(encoded) > STRING_BYTES:
        raise WireError(f"{name}: found text of {len(encoded)} bytes, expected at most {STRING_BYTES}")
    return np.frombuffer(encoded.ljust(STRING_BYTES, b"\0"), np.uint8)


def _what(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a structure of {', '.join(map(str, value)) or 'nothing'}"
    return f"a {type(value).__name__}"
