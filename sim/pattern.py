"""What a simulated pixel is worth: a cheap function of pulse, module and position, so that any byte can be checked.

``pixel = base[position] ^ key(pulse_id, module_id)``. The base is a ramp over the positions that starts differently
after each wrap of the pixel type, so no two packets of a frame are alike. The key is 8 bytes, repeated over the
frame, different for every pulse and module. Floats keep the exponent of [1, 2): finite, and equal only bit by bit.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, Final, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from detectors.pixels import PACKINGS, FrameLayout

_WORD: Final = np.dtype("<u8")
_U64: Final = (1 << 64) - 1

_CHUNK_WORDS: Final = 1 << 14
"""Words compared at a time: 128 KiB, so that the scratch stays in the processor's cache."""

_FLOAT_ONE: Final = {4: 0x3F800000, 8: 0x3FF0000000000000}
"""Bits of 1.0 by item size."""

_FLOAT_MANTISSA: Final = {4: 0x007FFFFF_007FFFFF, 8: 0x000FFFFF_FFFFFFFF}
"""Bits of a word of floats that may vary."""


def _mix(value: int) -> int:
    """Return a bijective hash of a 64-bit number. Source: splitmix64."""
    value = (value + 0x9E3779B97F4A7C15) & _U64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _U64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _U64
    return value ^ (value >> 31)


def _pixel_type(dtype: DTypeLike) -> np.dtype:
    return np.dtype(dtype).newbyteorder("<")


def _key(pulse_id: int, module_id: int, dtype: np.dtype) -> np.uint64:
    key = _mix((int(pulse_id) ^ (int(module_id) << 48)) & _U64)
    if dtype.kind == "f":
        key &= _FLOAT_MANTISSA[dtype.itemsize]
    return np.uint64(key)


@lru_cache(maxsize=8)
def _base(pixels: int, dtype: np.dtype) -> np.ndarray:
    """Return the ramp of so many pixels as read-only words; the last one is padded."""
    bits = dtype.itemsize * 8 if dtype.kind != "f" else {4: 23, 8: 52}[dtype.itemsize]
    unsigned = np.dtype(f"<u{dtype.itemsize}")
    length = min(pixels, 1 << bits)
    starts = np.array([_mix(wrap) >> (64 - bits) for wrap in range(-(-pixels // length))], unsigned)
    ramp = (starts[:, None] ^ np.arange(length, dtype=unsigned)).reshape(-1)[:pixels]
    if dtype.kind == "f":
        ramp |= unsigned.type(_FLOAT_ONE[dtype.itemsize])
    words = np.zeros(-(-ramp.nbytes // 8), _WORD)
    words.view(np.uint8)[: ramp.nbytes] = ramp.view(np.uint8)
    words.flags.writeable = False
    return words


def fill_pattern(out: np.ndarray, pulse_id: int, module_id: int) -> None:
    """Write the frame of a pulse and module into a C-contiguous array; its dtype and size are the frame's."""
    dtype = _pixel_type(out.dtype)
    words = _base(out.size, dtype)
    flat = out.reshape(-1).view(np.uint8)
    whole = flat.size // 8
    key = _key(pulse_id, module_id, dtype)
    np.bitwise_xor(words[:whole], key, out=flat[: whole * 8].view(_WORD))
    if flat.size % 8:
        flat[whole * 8 :] = (words[whole:] ^ key).view(np.uint8)[: flat.size % 8]


def stored_pattern(pulse_id: int, module_id: int, layout: FrameLayout) -> np.ndarray:
    """Return a new frame as it is stored, uint8[data_bytes]; of packed pixels the bytes are the pattern's."""
    out = np.empty(layout.data_bytes, np.uint8)
    fill_pattern(out if layout.is_packed else layout.read(out), pulse_id, module_id)
    return out


def frame_pattern(pulse_id: int, module_id: int, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return a new frame, little-endian, of any pixel type that the configuration knows; packed ones are unpacked."""
    layout = FrameLayout(shape, dtype if isinstance(dtype, str) else np.dtype(dtype).name)
    return layout.read(stored_pattern(pulse_id, module_id, layout))


def missing_flags(mask: bytes, packets: int) -> np.ndarray:
    """Return a missing-packet mask (bit ``p % 8`` of byte ``p // 8``) as one bool a packet; empty: none is missing."""
    flags = np.zeros(packets, bool)
    bits = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")[:packets]
    flags[: bits.size] = bits
    return flags


def first_mismatch(
    data: Any,
    pulse_id: int,
    module_id: int,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    *,
    missing: Sequence[bool] | np.ndarray | None = None,
) -> int | None:
    """Return the index, in C order, of the first wrong pixel, or None when all are right.

    ``data`` is any contiguous buffer or array of the frame's bytes, aligned or not. ``missing`` has one flag a packet;
    the packets divide the frame evenly, and a missing one must be all zero. Packed pixels are compared as they are stored,
    byte by byte.
    Raises ValueError when ``data`` has not the frame's size.
    """
    if dtype in PACKINGS:
        shape, dtype = (FrameLayout(shape, str(dtype)).data_bytes,), "uint8"
    kind = _pixel_type(dtype)
    pixels = prod(shape)
    flat = _bytes_of(data)
    if flat.size != pixels * kind.itemsize:
        raise ValueError(f"frame: found {flat.size} bytes, expected {pixels * kind.itemsize} of {shape} {kind.name}")
    flags = np.zeros(1, bool) if missing is None else np.asarray(missing, bool)
    if not flags.any():
        found = _first_difference(flat, _base(pixels, kind), _key(pulse_id, module_id, kind))
    else:
        expected = frame_pattern(pulse_id, module_id, shape, kind).reshape(flags.size, -1)
        expected[flags] = 0
        different = np.flatnonzero(flat != expected.reshape(-1).view(np.uint8))
        found = int(different[0]) if different.size else None
    return None if found is None else found // kind.itemsize


def check_frame(
    data: Any,
    pulse_id: int,
    module_id: int,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    *,
    missing: Sequence[bool] | np.ndarray | None = None,
) -> bool:
    """Return whether every byte is right; see ``first_mismatch``."""
    return first_mismatch(data, pulse_id, module_id, shape, dtype, missing=missing) is None


def _bytes_of(data: ArrayLike) -> np.ndarray:
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(cast("np.ndarray", data)).reshape(-1).view(np.uint8)
    return np.frombuffer(data, np.uint8)  # type: ignore[arg-type]


def _first_difference(flat: np.ndarray, words: np.ndarray, key: np.uint64) -> int | None:
    """Return the first byte at which ``flat`` is not ``words ^ key``, or None."""
    whole = flat.size // 8
    found = flat[: whole * 8].view(_WORD)
    scratch = np.empty(min(whole, _CHUNK_WORDS), _WORD)
    for start in range(0, whole, _CHUNK_WORDS):
        part = found[start : start + _CHUNK_WORDS]
        expected = np.bitwise_xor(words[start : start + part.size], key, out=scratch[: part.size])
        if not np.array_equal(part, expected):
            at = int(np.flatnonzero(part != expected)[0])
            inner = np.flatnonzero(part[at : at + 1].view(np.uint8) != expected[at : at + 1].view(np.uint8))
            return (start + at) * 8 + int(inner[0])
    if flat.size % 8:
        tail = (words[whole:] ^ key).view(np.uint8)[: flat.size % 8]
        wrong = np.flatnonzero(flat[whole * 8 :] != tail)
        if wrong.size:
            return whole * 8 + int(wrong[0])
    return None
