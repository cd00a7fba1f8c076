"""A result of a user's function as a ZMQ message of two parts: a head in JSON, and the values. Pure.

docs/reference/formats.md has the format.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import orjson

from detectors.errors import WireError

HTYPE: Final = "result-1.0"

Of: TypeAlias = Literal["total", "image"]

_NUMBERS: Final = "biufc"
"""Kinds of numpy types that a result may have."""


class ResultHead(NamedTuple):
    """What is known of a result beside its values."""

    name: str
    of: Of
    """What it was made of: of all images since the start, or the last reset, or of the last image alone."""
    images: int
    """How many images are in it."""
    pulse_id: int
    """Of the last image in it."""
    timestamp_ns: int = 0
    """POSIX time of that image; 0 when it is not known."""
    detector: str = ""


def encode_result(head: ResultHead, value: np.ndarray) -> tuple[bytes, memoryview]:
    """Return the two parts of the message."""
    data = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
    fields = {"htype": HTYPE, **head._asdict(), "dtype": value.dtype.name, "shape": value.shape}
    return orjson.dumps(fields), data.reshape(-1).view(np.uint8).data


def decode_result(parts: Sequence[bytes | memoryview]) -> tuple[ResultHead, np.ndarray]:
    """Return head and values of a message; the array is read-only. Raises WireError."""
    if len(parts) != 2:
        raise WireError(f"result: found {len(parts)} parts, expected 2")
    try:
        fields = cast("dict[str, Any]", orjson.loads(parts[0]))
        if fields["htype"] != HTYPE:
            raise WireError(f"result: found the type {fields['htype']!r}, expected {HTYPE!r}")
        dtype = np.dtype(fields["dtype"])
        if dtype.kind not in _NUMBERS:
            raise WireError(f"result: found the dtype {dtype}, expected one of numbers")
        value = np.frombuffer(parts[1], dtype.newbyteorder("<")).reshape(fields["shape"])
        head = ResultHead(**{name: fields[name] for name in ResultHead._fields})
    except (KeyError, TypeError, ValueError) as error:
        raise WireError(f"result: the message is damaged: {error}") from None
    value.flags.writeable = False
    return head, value
