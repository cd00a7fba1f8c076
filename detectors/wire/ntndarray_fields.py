"""The fields of an NTNDArray that we publish, as plain values for p4p. Pure.

A pair (code, value) is a number of that PVA type: ``("i", 2)`` is a 32-bit 2. areaDetector's drivers read ColorMode and
``codec.parameters`` as 32-bit numbers, and nothing else. Source: areaDetector's ntndArrayConverter.
"""

import math
import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from detectors.image_head import ImageHead
from detectors.thinning import axes, color_mode
from detectors.wire.encode import SCALAR_TYPES, encode
from detectors.wire.ntndarray import PIXEL_DTYPES

MEMBERS: Final = {dtype.name: member for member, dtype in PIXEL_DTYPES.items() if member != "booleanValue"}
"""Member of the union ``value`` for each pixel type."""

_DRIVER: Final = 2
"""NDAttrSourceDriver: the attribute comes from the detector."""


def image_fields(
    image: np.ndarray,
    head: ImageHead,
    *,
    modules_missing: int = 0,
    codec: str = "",
    factor: int = 1,
    full_shape: tuple[int, ...] = (),
) -> dict[str, Any]:
    """Return the fields of ``image`` (native byte order, contiguous), compressed with ``codec``.

    ``factor`` and ``full_shape`` say how it was thinned. ``timeStamp`` is the data's; now when that is not known.
    """
    data = encode(codec, image) if codec else image.reshape(-1)
    found = _fields(data, codec, image.dtype.name, image.nbytes, head)
    return found | _of_shape(image.shape, head, modules_missing, factor, full_shape)


def compressed_fields(
    data: np.ndarray, codec: str, shape: tuple[int, ...], pixel_type: np.dtype, head: ImageHead, *, modules_missing: int
) -> dict[str, Any]:
    """Return the fields of an image of ``shape`` and ``pixel_type`` that is compressed already: ``data``, uint8."""
    nbytes = math.prod(shape) * pixel_type.itemsize
    return _fields(data, codec, pixel_type.name, nbytes, head) | _of_shape(shape, head, modules_missing)


def no_image_fields() -> dict[str, Any]:
    """Return the fields of an NTNDArray without an image, for clients that connect before the first one."""
    empty = np.empty((0, 0), np.uint8)
    return {
        "value": ("ubyteValue", empty.reshape(-1)),
        "dimension": dimensions(empty.shape),
        "timeStamp": time_stamp(time.time_ns()),
    }


def _fields(data: np.ndarray, codec: str, pixel_type: str, nbytes: int, head: ImageHead) -> dict[str, Any]:
    stamp = time_stamp(head.timestamp_ns or time.time_ns())
    return {
        "value": (MEMBERS[data.dtype.name], data),
        "codec": {"name": codec, "parameters": ("i", SCALAR_TYPES[pixel_type]) if codec else None},
        "compressedSize": data.nbytes,
        "uncompressedSize": nbytes,
        "uniqueId": head.unique_id,
        "dataTimeStamp": stamp,
        "timeStamp": stamp,
    }


def _of_shape(
    shape: tuple[int, ...], head: ImageHead, modules_missing: int, factor: int = 1, full_shape: tuple[int, ...] = ()
) -> dict[str, Any]:
    return {
        "dimension": dimensions(shape, factor, full_shape),
        "attribute": [
            {"name": name, "value": value, "descriptor": text, "sourceType": _DRIVER, "source": "pebbledaq"}
            for name, (value, text) in _attributes(shape, head, modules_missing).items()
        ],
    }


def _attributes(
    shape: tuple[int, ...], head: ImageHead, modules_missing: int
) -> Mapping[str, tuple[tuple[str, float], str]]:
    return {
        "ColorMode": (("i", int(color_mode(shape))), "Color mode"),
        "PulseId": (("L", head.pulse_id), "Pulse id"),
        "FrameIndex": (("L", head.frame_index), "Frame number of the detector"),
        "Timestamp": (("d", head.timestamp_ns / 1e9), "Time of the frame, seconds since 1970"),
        "IsGood": (("i", int(head.is_good_frame)), "1: every packet of every module was received"),
        "PacketsMissing": (("i", head.packets_missing), "Packets that were not received"),
        "ModulesMissing": (("i", modules_missing), "Modules without a frame, shown as zeros"),
        "Damage": (("i", head.damage), "Damage bits of the frames"),
    }


def dimensions(shape: tuple[int, ...], factor: int = 1, full_shape: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    """Return the dimensions, x first."""
    binned, full_shape = axes(shape), full_shape or shape
    return [
        {
            "size": shape[axis],
            "offset": 0,
            "fullSize": full_shape[axis],
            "binning": factor if axis in binned else 1,
            "reverse": False,
        }
        for axis in reversed(range(len(shape)))
    ]


def time_stamp(time_ns: int) -> dict[str, int]:
    """Return a POSIX time, ns, as the fields of a time stamp."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return {"secondsPastEpoch": seconds, "nanoseconds": nanoseconds}
