"""Array-1.0: an assembled image as a two-part message, a JSON header and the pixels.

Source: the image streams of sf-buffer, and the htype convention of PSI's detector streams.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import numpy as np
import orjson

from detectors.errors import WireError
from detectors.image_head import ImageHead
from detectors.parts import PartPlace
from detectors.pixels import PIXEL_TYPES
from detectors.wire.bslz4 import CHUNK_HEADER, decode_bslz4

HTYPE: Final = "array-1.0"

NO_DATA: Final = bytes(8)
"""Second part of a message without pixels: a 2 x 2 image of uint16, all zero."""

NO_DATA_SHAPE: Final = (2, 2)
NO_DATA_TYPE: Final = "uint16"

STREAM_COMPRESSIONS: Final = ("none", "bslz4")
"""What the data may be: the pixels, or a chunk of HDF5's bitshuffle filter with LZ4, its header of 12 bytes included."""

_MOST_RATIO: Final = 256
"""LZ4 makes data at most 255 times as large as its block: a header that promises more is refused before memory is taken for it."""


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_flag(value: Any) -> bool:
    return type(value) in (bool, int) and value in (0, 1)  # other senders write 0 and 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_modules(value: Any) -> bool:
    numbers = cast("list[Any]", value)
    return type(value) is list and value != [] and all(map(_is_whole, numbers)) and sorted(set(numbers)) == numbers


def _is_shape(value: Any) -> bool:
    return type(value) is list and value != [] and all(type(n) is int and n > 0 for n in cast("list[Any]", value))


_Rule: TypeAlias = tuple[Callable[[Any], bool], str]

_WHOLE: Final[_Rule] = _is_whole, "a whole number of at least 0"
_TEXT: Final[_Rule] = _is_text, "text"

_KEYS: Final[dict[str, _Rule]] = {
    "pulse_id": _WHOLE,
    "frame": _WHOLE,
    "is_good_frame": (_is_flag, "true or false"),
    "daq_rec": _WHOLE,
    "pedestal_file": _TEXT,
    "gain_file": _TEXT,
    "detector_name": _TEXT,
    "htype": (lambda value: value == HTYPE, repr(HTYPE)),
    "type": (lambda value: value in PIXEL_TYPES, f"one of {', '.join(PIXEL_TYPES)}"),
    "shape": (_is_shape, "whole numbers above 0"),
}
"""Keys of a header, with what their values must be."""

_OWN_KEYS: Final = dict.fromkeys(("present", "timestamp_ns", "packets_missing", "damage"), _WHOLE)
"""Keys that our headers have besides; other senders need not have them."""

_PART_KEYS: Final[dict[str, _Rule]] = {
    "modules": (_are_modules, "module numbers, counting up"),
    **dict.fromkeys(("of_modules", "row", "column", "number"), _WHOLE),
}
"""Keys that the header of a part of an image has besides those."""

_DATA_KEYS: Final[dict[str, _Rule]] = {
    "compression": (lambda value: value in STREAM_COMPRESSIONS, f"one of {', '.join(STREAM_COMPRESSIONS)}")
}
"""Keys that a header has whose data is compressed; other senders may write them always."""

_IMAGE_KEYS: Final = _KEYS | _OWN_KEYS | _DATA_KEYS
_ALL_KEYS: Final = _IMAGE_KEYS | _PART_KEYS


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The header of an image."""

    head: ImageHead
    """All but ``missing``, which the message does not have; the key ``frame`` is its frame_index."""
    detector_name: str
    dtype: str
    """numpy name of the pixel type, little-endian: the key ``type`` of the message."""
    shape: tuple[int, ...]
    """Slowest dimension first."""
    pedestal_file: str = ""
    gain_file: str = ""
    part: PartPlace | None = None
    """Where it lies in the whole image; None of a whole one. ``present`` of its head counts the modules of the whole."""
    number: int = 0
    """Of a part: how many its host has made, this one included."""
    compression: str = "none"
    """Of the data, one of ``STREAM_COMPRESSIONS``."""

    @property
    def data_bytes(self) -> int:
        """Bytes of the pixels, uncompressed."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def encode_header(header: ImageHeader, *, with_data: bool = True) -> bytes:
    """Return the first part; without data it announces the 8 zero bytes of ``NO_DATA``."""
    part = header.part
    place: dict[str, Any] = {}
    if part:
        place = {"modules": part.modules, "of_modules": part.of_modules, "row": part.row, "column": part.column}
        place["number"] = header.number
    compressed = {"compression": header.compression} if with_data and header.compression != "none" else {}
    return orjson.dumps(
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
            "present": header.head.present,
            "timestamp_ns": header.head.timestamp_ns,
            "packets_missing": header.head.packets_missing,
            "damage": header.head.damage,
            **place,
            **compressed,
        }
    )


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
    is_part = all(key in tree for key in _PART_KEYS)
    for key, (is_right, expected) in (_ALL_KEYS if is_part else _IMAGE_KEYS).items():
        if key in tree and not is_right(tree[key]):
            raise WireError(f"array-1.0: found {key} {tree[key]!r}, expected {expected}")
    return ImageHeader(
        ImageHead(
            tree["pulse_id"],
            tree["frame"],
            tree["daq_rec"],
            bool(tree["is_good_frame"]),
            **{key: tree[key] for key in _OWN_KEYS if key in tree},
        ),
        detector_name=tree["detector_name"],
        dtype=tree["type"],
        shape=tuple(tree["shape"]),
        pedestal_file=tree["pedestal_file"],
        gain_file=tree["gain_file"],
        part=PartPlace(tuple(tree["modules"]), *(tree[key] for key in ("of_modules", "row", "column")))
        if is_part
        else None,
        number=tree["number"] if is_part else 0,
        compression=tree.get("compression", "none"),
    )


def decode_image(
    parts: Sequence[bytes | memoryview], max_bytes: float = math.inf
) -> tuple[ImageHeader, np.ndarray | None]:
    """Return header and pixels of one message: read-only, of ``shape``, or None for a header without data.

    Pixels that were not compressed are a view of the message. Raises WireError when the message has not two parts, the data
    not the size that the header announces, or the pixels more than ``max_bytes``; HostError when they are compressed and the
    library for it is not installed.
    """
    if len(parts) != 2:
        raise WireError(f"array-1.0: found {len(parts)} parts, expected 2 (header and data)")
    header, data = decode_header(parts[0]), memoryview(parts[1])
    if header.compression != "none":
        return header, _decompressed(header, data, max_bytes)
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


def _decompressed(header: ImageHeader, data: memoryview, max_bytes: float) -> np.ndarray:
    nbytes = CHUNK_HEADER.unpack_from(data)[0] if data.nbytes >= CHUNK_HEADER.size else 0
    most = min(max_bytes, data.nbytes * _MOST_RATIO)
    if not nbytes == header.data_bytes <= most:
        raise WireError(
            f"array-1.0: found a chunk of {nbytes} bytes, expected the {header.data_bytes} of {list(header.shape)} "
            f"{header.dtype}, and at most {most:g}"
        )
    pixels = np.empty(header.shape, np.dtype(header.dtype).newbyteorder("<"))
    decode_bslz4(np.frombuffer(data, np.uint8), pixels.reshape(-1).view(np.uint8), pixels.itemsize)
    pixels.flags.writeable = False
    return pixels
