"""Array-1.0: an assembled image as a two-part message, a JSON header and the pixels.

Source: the image streams of sf-buffer, and the htype convention of PSI's detector streams.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from detectors.errors import WireError
from detectors.geometry import PIXEL_TYPES
from detectors.image_head import ImageHead

HTYPE: Final = "array-1.0"

NO_DATA: Final = bytes(8)
"""Second part of a message without pixels: a 2 x 2 image of uint16, all zero."""

NO_DATA_SHAPE: Final = (2, 2)
NO_DATA_TYPE: Final = "uint16"

_KEYS: Final = (
    "pulse_id",
    "frame",
    "is_good_frame",
    "daq_rec",
    "pedestal_file",
    "gain_file",
    "detector_name",
    "htype",
    "type",
    "shape",
)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header says of an image: keys ``pulse_id``, ``frame`` (the frame_index), ``is_good_frame``, ``daq_rec`` ..."""

    head: ImageHead
    """All but ``present``, which the message does not have."""
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
    return json.dumps(
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
        },
        separators=(",", ":"),
    ).encode()


def decode_header(text: bytes | memoryview) -> ImageHeader:
    """Return the header in the first part. Raises WireError when a key is missing, unknown or of the wrong type."""
    try:
        tree: Any = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise WireError(f"array-1.0: found a header that is no JSON ({error}), expected an object") from None
    if not isinstance(tree, dict):
        raise WireError(f"array-1.0: found a header of type {type(tree).__name__}, expected an object")
    missing = [key for key in _KEYS if key not in tree]
    if missing:
        raise WireError(f"array-1.0: found no {', '.join(missing)} in the header, expected {', '.join(_KEYS)}")
    if tree["htype"] != HTYPE:
        raise WireError(f"array-1.0: found htype {tree['htype']!r}, expected {HTYPE!r}")
    if tree["type"] not in PIXEL_TYPES:
        raise WireError(f"array-1.0: found type {tree['type']!r}, expected one of {', '.join(PIXEL_TYPES)}")
    shape = tree["shape"]
    if not isinstance(shape, list) or not shape or not all(type(n) is int and n > 0 for n in shape):
        raise WireError(f"array-1.0: found shape {shape!r}, expected whole numbers above 0")
    return ImageHeader(
        ImageHead(
            _whole(tree, "pulse_id"), _whole(tree, "frame"), _whole(tree, "daq_rec"), _flag(tree, "is_good_frame")
        ),
        detector_name=_text(tree, "detector_name"),
        dtype=tree["type"],
        shape=tuple(shape),
        pedestal_file=_text(tree, "pedestal_file"),
        gain_file=_text(tree, "gain_file"),
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
    if header.shape == NO_DATA_SHAPE and header.dtype == NO_DATA_TYPE and data == NO_DATA:
        return header, None
    pixels = np.frombuffer(data, np.dtype(header.dtype).newbyteorder("<")).reshape(header.shape)
    pixels.flags.writeable = False
    return header, pixels


def _whole(tree: dict[str, Any], key: str) -> int:
    value = tree[key]
    if type(value) is not int or value < 0:
        raise WireError(f"array-1.0: found {key} {value!r}, expected a whole number of at least 0")
    return value


def _flag(tree: dict[str, Any], key: str) -> bool:
    """Return a boolean; other senders write 0 and 1."""
    value = tree[key]
    if type(value) not in (bool, int) or value not in (0, 1):
        raise WireError(f"array-1.0: found {key} {value!r}, expected true or false")
    return bool(value)


def _text(tree: dict[str, Any], key: str) -> str:
    value = tree[key]
    if not isinstance(value, str):
        raise WireError(f"array-1.0: found {key} {value!r}, expected text")
    return value
