"""The sidecar ``<file>.meta``: 64 bytes per pulse with what the documented record has no place for.

Timestamp, damage, missing packets and the CRC32C of the pixels, at ``pulse_id % FILE_MOD * 64``.
"""

import os
import struct
from pathlib import Path
from typing import Final

import numpy as np
from crc32c import crc32c

from detectors.frame import (
    FILE_MOD,
    FRAME_HEAD,
    MODULE_FRAME,
    SIDECAR,
    SIDECAR_HAS_CRC,
    SIDECAR_MASK_BYTES,
    SIDECAR_MASK_CUT,
    SIDECAR_PRESENT,
    FrameHead,
)

FLUSH_EVERY: Final = 64
"""Entries held back before they are written: one page, and no system call per frame."""

_ENTRY: Final = struct.Struct(f"<QQIIII{SIDECAR_MASK_BYTES}s")
"""SIDECAR once more: packing one entry this way takes a microsecond, field by field through numpy ten."""
assert _ENTRY.size == SIDECAR.itemsize

_MODE: Final = 0o664


def read_sidecar(path: Path) -> np.ndarray:
    """Return all entries of a sidecar, SIDECAR[FILE_MOD], in memory; zeros where it has none, or is not there.

    Raises OSError.
    """
    entries = np.zeros(FILE_MOD, SIDECAR)
    try:
        with path.open("rb", buffering=0) as file:
            file.readinto(entries.view(np.uint8).data)
    except FileNotFoundError:
        pass
    return entries


def read_entry(path: Path, index: int) -> np.void | None:
    """Return one entry of a sidecar, SIDECAR; None when it has none (yet), or is not there. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        found = os.pread(fd, SIDECAR.itemsize, index * SIDECAR.itemsize)
    finally:
        os.close(fd)
    entry = np.frombuffer(found.ljust(SIDECAR.itemsize, b"\0"), SIDECAR)[0]
    return entry if entry["flags"] & SIDECAR_PRESENT else None


def frame_heads(frames: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Return FRAME_HEAD[FILE_MOD] from the MODULE_FRAMEs and the SIDECAR of one file.

    A frame without an entry should have as many packets as any frame of the file.
    """
    known = (entries["flags"] & SIDECAR_PRESENT) != 0
    heads = np.zeros(len(frames), FRAME_HEAD)
    for name in MODULE_FRAME.names or ():
        heads[name] = frames[name]
    for name in ("timestamp_ns", "damage"):
        heads[name][known] = entries[name][known]
    heads["missing"][known, :SIDECAR_MASK_BYTES] = entries["missing"][known]
    heads["expected_packets"] = np.where(known, entries["expected_packets"], frames["n_recv_packets"].max())
    return heads


class SidecarFile:
    """A sidecar that is being written; entries are held in memory and written in runs. For one thread. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = read_sidecar(path)
        self._bytes = self._entries.view(np.uint8).data
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _MODE)
        self._clear_dirty()

    def put(self, head: FrameHead, data: memoryview) -> None:
        """Hold the entry of one frame with pixels ``data``; written by the next flush, after FLUSH_EVERY at the latest."""
        index = head.pulse_id % FILE_MOD
        flags = SIDECAR_PRESENT | SIDECAR_HAS_CRC
        if any(head.missing[SIDECAR_MASK_BYTES:]):
            flags |= SIDECAR_MASK_CUT
        _ENTRY.pack_into(
            self._bytes,
            index * SIDECAR.itemsize,
            head.pulse_id,
            head.timestamp_ns,
            head.damage,
            crc32c(data),
            head.expected_packets,
            flags,
            head.missing,
        )
        self._touch(index)
        if self._dirty >= FLUSH_EVERY:
            self.flush()

    def forget(self, index: int) -> None:
        """Write at once that there is no entry: a record about to be replaced must not meet the CRC of the old one."""
        if self._entries[index]["flags"]:
            self._entries[index] = np.zeros((), SIDECAR)
            self._touch(index)
            self.flush()

    def flush(self) -> None:
        """Write the entries held back."""
        if not self._dirty:
            return
        size = SIDECAR.itemsize
        start, stop = self._first * size, (self._last + 1) * size
        while start < stop:
            start += os.pwrite(self._fd, self._bytes[start:stop], start)
        self._clear_dirty()

    def sync(self) -> None:
        """Flush, and wait until everything written is on the disk."""
        self.flush()
        os.fdatasync(self._fd)

    def discard(self) -> None:
        """Drop the entries held back."""
        self._clear_dirty()

    def close(self) -> None:
        """Flush and close. Idempotent."""
        if self._fd < 0:
            return
        fd = self._fd
        try:
            self.flush()
        finally:
            self._fd = -1
            os.close(fd)

    def _touch(self, index: int) -> None:
        self._first, self._last = min(self._first, index), max(self._last, index)
        self._dirty += 1

    def _clear_dirty(self) -> None:
        self._first, self._last, self._dirty = FILE_MOD, -1, 0
