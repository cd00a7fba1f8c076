"""Array-1.0: an assembled image as a two-part message, a JSON header and the pixels.

Source: the image streams of sf-buffer, and the htype convention of PSI's detector streams.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np

from detectors.errors import WireError
from detectors.image_head import ImageHead
from detectors.pixels import PIXEL_TYPES

HTYPE: Final = "array-1.0"

NO_DATA: Final = bytes(8)
"""Second part of a message without pixels: a 2 x 2 image of uint16, all zero."""

NO_DATA_SHAPE: Final = (2, 2)
NO_DATA_TYPE: Final = "uint16"

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_flag(value: Any) -> bool:
    return type(value) in (bool, int) and value in (0, 1)  # other senders write 0 and 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_shape(value: Any) -> bool:
    return type(value) is list and value != [] and all(type(n) is int and n > 0 for n in cast("list[Any]", value))


_KEYS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "pulse_id": (_is_whole, "a whole number of at least 0"),
    "frame": (_is_whole, "a whole number of at least 0"),
    "is_good_frame": (_is_flag, "true or false"),
    "daq_rec": (_is_whole, "a whole number of at least 0"),
    "pedestal_file": (_is_text, "text"),
    "gain_file": (_is_text, "text"),
    "detector_name": (_is_text, "text"),
    "htype": (lambda value: value == HTYPE, repr(HTYPE)),
    "type": (lambda value: value in PIXEL_TYPES, f"one of {', '.join(PIXEL_TYPES)}"),
    "shape": (_is_shape, "whole numbers above 0"),
}
"""Keys of a header, with what their values must be."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The header of an image."""

    head: ImageHead
    """All but ``present``, which the message does not have; the key ``frame`` is its frame_index."""
    detector_name: str
    dtype: str
    """numpy name of the pixel type, little-endian: the key ``type`` of the message."""
    shape: tuple[int, ...]
    """Slowest dimension first."""
    pedestal_file: str = ""
    gain_file: str = ""

    @property
    def data_bytes(self) -> int:
        """Bytes of the pixels."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def encode_header(header: ImageHeader, *, with_data: bool = True) -> bytes:
    """Return the first part; without data it announces the 8 zero bytes of ``NO_DATA``."""
    return _ENCODER.encode(
        {
            "pulse_id": header.head.pulse_id,
            "frame": header.head.frame_index,
            "is_good_frame": header.head.is_good_frame,
            "daq_rec": header.head.daq_rec,
            "pedestal_file": header.pedestal_file,
            "gain_file": header.gain_file,
            "detector_name": header.detector_name,
            "htype": HTYPE,
            "type": header.dtype if with_data else NO_DATA_TYPE,
            "shape": header.shape if with_data else NO_DATA_SHAPE,
        }
    ).encode()


def decode_header(text: bytes | memoryview) -> ImageHeader:
    """Return the header in the first part. Raises WireError when a key is missing, unknown or of the wrong type."""
    try:
        found: Any = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise WireError(f"array-1.0: found a header that is not JSON ({error}), expected an object") from None
    if not isinstance(found, dict):
        raise WireError(f"array-1.0: found a header of type {type(found).__name__}, expected an object")
    tree = cast("dict[str, Any]", found)
    missing = [key for key in _KEYS if key not in tree]
    if missing:
        raise WireError(f"array-1.0: found no {', '.join(missing)} in the header, expected {', '.join(_KEYS)}")
    for key, (is_right, expected) in _KEYS.items():
        if not is_right(tree[key]):
            raise WireError(f"array-1.0: found {key} {tree[key]!r}, expected {expected}")
    return ImageHeader(
        ImageHead(tree["pulse_id"], tree["frame"], tree["daq_rec"], bool(tree["is_good_frame"])),
        detector_name=tree["detector_name"],
        dtype=tree["type"],
        shape=tuple(tree["shape"]),
        pedestal_file=tree["pedestal_file"],
        gain_file=tree["gain_file"],
    )


def decode_image(parts: Sequence[bytes | memoryview]) -> tuple[ImageHeader, np.ndarray | None]:
    """Return header and pixels of one message: a read-only view of ``shape``, or None for a header without data.

    Raises WireError when the message has not two parts, or the data not the size that the header announces.
    """
    if len(parts) != 2:
        raise WireError(f"array-1.0: found {len(parts)} parts, expected 2 (header and data)")
    header, data = decode_header(parts[0]), memoryview(parts[1])
    if data.nbytes != header.data_bytes:
        raise WireError(
            f"array-1.0: found {data.nbytes} bytes of data, expected the {header.data_bytes} of {list(header.shape)} "
            f"{header.dtype}"
        )
    if header.shape == NO_DATA_SHAPE and header.dtype == NO_DATA_TYPE and bytes(data) == NO_DATA:
        return header, None
    pixels = np.frombuffer(data, np.dtype(header.dtype).newbyteorder("<")).reshape(header.shape)
    pixels.flags.writeable = False
    return header, pixels
