"""A small image with what is known of it, in one message: from the worker of images to the IOC. Pure.

u32 length of the head, head as JSON, pixels in native byte order.
"""

import struct
from typing import Final, NamedTuple

import numpy as np
import orjson

from detectors.errors import WireError

_LENGTH: Final = struct.Struct("<I")


class SmallImage(NamedTuple):
    """An image for Channel Access."""

    pixels: np.ndarray
    pulse_id: int
    unique_id: int
    time_ns: int
    """POSIX time of the frame, ns."""


def encode_small(image: SmallImage) -> bytes:
    """Return the message."""
    pixels, *numbers = image
    head = orjson.dumps([list(pixels.shape), pixels.dtype.name, *numbers])
    return b"".join((_LENGTH.pack(len(head)), head, np.ascontiguousarray(pixels).reshape(-1).view(np.uint8).data))


def decode_small(message: bytes) -> SmallImage:
    """Return the image in a message; its pixels are read-only. Raises WireError when the message is not one."""
    try:
        start = _LENGTH.size + _LENGTH.unpack_from(message)[0]
        shape, dtype, pulse_id, unique_id, time_ns = orjson.loads(message[_LENGTH.size : start])
        pixels = np.frombuffer(message, np.dtype(dtype), offset=start).reshape(shape)
        return SmallImage(pixels, int(pulse_id), int(unique_id), int(time_ns))
    except (struct.error, ValueError, TypeError) as error:
        raise WireError(f"small image: found {len(message)} bytes that are not one ({error})") from None
