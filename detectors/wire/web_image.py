"""An image with what is known of it, in one binary message for a browser. Pure.

u32 length of the head, head as JSON, filled up with spaces so that the pixels begin at a multiple of 8; then the pixels,
uint8 or uint16, little-endian. A pixel's value is ``offset + scale * pixel``; ``exact`` says that it is the detector's own.
"""

import struct
from typing import Final, Literal, NamedTuple

import numpy as np
import orjson

from detectors.errors import WireError
from detectors.image_head import ImageHead
from detectors.thinning import axes, binning, color_mode, colours_last, thinned

Bits = Literal[8, 16]

_LENGTH: Final = struct.Struct("<I")
_ALIGNMENT: Final = 8

_OUTSIDE: Final = 0.1
"""Part of the pixels at either end that 8 bits do not show, %: a few hot ones must not turn all others black."""

_SAMPLE: Final = 1 << 15
"""Pixels that this range is taken from, at most."""


class ScaledImage(NamedTuple):
    """An image in 8 or 16 bits."""

    pixels: np.ndarray
    """[y, x], or [y, x, 3] with colours."""
    offset: float
    scale: float
    exact: bool


def flat_image(image: np.ndarray, most: int) -> tuple[np.ndarray, int]:
    """Return an image as [y, x] or [y, x, 3] with at most ``most`` pixels, and the side of the block that each stands for.

    Of a stack of images it is the first.
    """
    if color_mode(image.shape):
        image = colours_last(image)
        most *= 3
    elif image.ndim > 2:
        image = image.reshape(-1, *image.shape[-2:])[0]
    elif image.ndim < 2:
        image = image.reshape(1, -1)
    factor = binning(image.shape, most)
    return np.ascontiguousarray(thinned(image, factor)), factor


def scaled(image: np.ndarray, bits: Bits) -> ScaledImage:
    """Return an image in so many bits, exact where its values fit into them; numbers that are not finite become the lowest."""
    if image.dtype.name in {"uint8", "bool"}:
        return ScaledImage(image.view(np.uint8), 0, 1, exact=True)
    if image.dtype == np.uint16 and bits == 16:
        return ScaledImage(image, 0, 1, exact=True)
    low, high = _limits(image)
    most, kind = (1 << bits) - 1, np.uint8 if bits == 8 else np.uint16
    if image.dtype.kind in "iu" and int(high) - int(low) <= most:
        shifted = image.astype(np.int64, copy=False) if image.dtype != np.uint64 else image
        return ScaledImage((shifted - shifted.dtype.type(low)).astype(kind), int(low), 1, exact=True)
    bottom, top = _shown_range(image) if bits == 8 else (float(low), float(high))
    scale = (top - bottom) / most or 1.0
    numbers = np.nan_to_num((image.astype(np.float64) - bottom) / scale, nan=0, posinf=most, neginf=0)
    return ScaledImage(np.clip(np.rint(numbers), 0, most).astype(kind), bottom, scale, exact=False)


def _limits(image: np.ndarray) -> tuple[float, float]:
    finite = image if image.dtype.kind in "iu" else image[np.isfinite(image)]
    return (finite.min(), finite.max()) if finite.size else (0, 0)


def _shown_range(image: np.ndarray) -> tuple[float, float]:
    """Return the range of values that 8 bits show."""
    sample = image.reshape(-1)[:: max(1, image.size // _SAMPLE)].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 0.0
    low, high = np.percentile(sample, (_OUTSIDE, 100 - _OUTSIDE))
    return float(low), float(high)


def encode_web(
    image: ScaledImage, head: ImageHead, *, factor: int, full: np.ndarray, modules_missing: int, now_ns: int
) -> bytes:
    """Return the message. ``full`` is the image before it was made smaller by ``factor``, ``now_ns`` the POSIX time."""
    pixels = image.pixels
    rows, cols = (full.shape[axis] for axis in axes(full.shape)) if full.ndim > 1 else (1, full.size)
    text = orjson.dumps(
        {
            # A browser's numbers have 53 bits.
            "pulse_id": str(head.pulse_id),
            "frame": str(head.frame_index),
            "time_ms": head.timestamp_ns // 1000 / 1000,
            "sent_ms": now_ns // 1000 / 1000,
            "good": head.is_good_frame,
            "packets_missing": head.packets_missing,
            "modules_missing": modules_missing,
            "shape": list(pixels.shape),
            "bits": 8 * pixels.dtype.itemsize,
            "offset": image.offset,
            "scale": image.scale,
            "exact": image.exact,
            "factor": factor,
            "full": [rows, cols],
            "dtype": full.dtype.name,
        }
    )
    text += b" " * (-(_LENGTH.size + len(text)) % _ALIGNMENT)
    little = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    return b"".join((_LENGTH.pack(len(text)), text, np.ascontiguousarray(little).reshape(-1).view(np.uint8).data))


def decode_web(message: bytes) -> tuple[dict[str, object], np.ndarray]:
    """Return the head and the pixels of a message, as a browser does. Raises WireError when it is not one."""
    try:
        start = _LENGTH.size + _LENGTH.unpack_from(message)[0]
        head = orjson.loads(message[_LENGTH.size : start])
        kind = {8: "u1", 16: "<u2"}[head["bits"]]
        return head, np.frombuffer(message, kind, offset=start).reshape(head["shape"])
    except (struct.error, ValueError, TypeError, KeyError) as error:
        raise WireError(f"image for a browser: found {len(message)} bytes that are not one ({error})") from None
