"""Packed layouts that every stage shares: the module frame, the disk record, the sidecar and the damage bits.

Source: sf-buffer's ``ModuleFrame`` and ``BufferBinaryFormat``; LCLS-II's ``Damage``.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

FORMAT_MARKER: Final = 0xBE
"""First byte of a disk record; a hole in a sparse file reads as 0 here."""

CLOSING_BYTE: Final = 0xFF
"""Single byte behind the last record of a full-size file."""

FILE_MOD: Final = 1000
"""Pulses in one file. Must divide FOLDER_MOD."""

FOLDER_MOD: Final = 100_000
"""Pulses in one data folder: FOLDER_MOD / FILE_MOD = 100 files."""

MODULE_FRAME: Final = np.dtype(
    [
        ("pulse_id", "<u8"),
        ("frame_index", "<u8"),
        ("daq_rec", "<u8"),
        ("n_recv_packets", "<u8"),
        ("module_id", "<u8"),
    ]
)
assert MODULE_FRAME.itemsize == 40

RECORD_HEADER: Final = np.dtype([("marker", "u1"), ("frame", MODULE_FRAME)])
assert RECORD_HEADER.itemsize == 41

RECORD_HEAD: Final = struct.Struct("<B5Q")
"""The same for one record at a time: numpy takes ten times as long."""
assert RECORD_HEAD.size == RECORD_HEADER.itemsize

MISSING_MASK_BYTES: Final = 32
"""Bytes of a missing-packet mask: one bit per packet, bit ``p % 8`` of byte ``p // 8``; so at most 256 packets a frame."""

SIDECAR: Final = np.dtype(
    [
        ("pulse_id", "<u8"),
        ("timestamp_ns", "<u8"),
        ("damage", "<u4"),
        ("crc32c", "<u4"),
        ("expected_packets", "<u4"),
        ("flags", "<u4"),
        ("missing", "u1", (MISSING_MASK_BYTES,)),
    ]
)
"""One fixed record per pulse in ``<file>.meta``, at ``pulse_id % FILE_MOD * 64``. flags bit 0: record present; bit 1: CRC present."""
assert SIDECAR.itemsize == 64

SIDECAR_PRESENT: Final = 1
SIDECAR_HAS_CRC: Final = 2


class Damage(IntFlag):
    """What is wrong with an event. Source: LCLS-II ``XtcData::Damage``."""

    NONE = 0
    TRUNCATED = 1 << 0
    OUT_OF_ORDER = 1 << 1
    OUT_OF_SYNCH = 1 << 2
    CORRUPTED = 1 << 3
    DROPPED_CONTRIBUTION = 1 << 4
    MISSING_DATA = 1 << 5
    TIMED_OUT = 1 << 6
    BAD_PULSE = 1 << 12
    """User bit: the pulse_id on the wire was unusable or jumped; the stored one was resynchronised."""


@dataclass(frozen=True, slots=True)
class RecordShape:
    """Where one record lies in its file and in its pebble slot.

    A slot maps the file from the sector that the record starts in, so that whole sectors can be written straight from
    it: the record starts ``place(pulse_id)`` bytes into the slot, and the bytes before it are the tail of the record
    before it in the file.
    """

    data_bytes: int
    """Pixels of one frame, bytes."""

    align: int = 4096
    """Sector size for direct I/O, bytes: a power of two, at least the file system's block."""

    @property
    def record_bytes(self) -> int:
        """Marker, module frame and pixels."""
        return RECORD_HEADER.itemsize + self.data_bytes

    @property
    def span_bytes(self) -> int:
        """Most bytes of whole sectors that one record can touch."""
        return -(-(self.align - 1 + self.record_bytes) // self.align) * self.align

    def file_offset(self, pulse_id: int) -> int:
        """Offset of the record in its file."""
        return pulse_id % FILE_MOD * self.record_bytes

    def place(self, pulse_id: int) -> int:
        """Offset of the record in its slot: congruent to the file offset modulo ``align``."""
        return self.file_offset(pulse_id) % self.align


class FrameInfo(NamedTuple):
    """What is known of a frame beyond its disk record; it travels with the lease and ends in the sidecar."""

    timestamp_ns: int = 0
    """POSIX time of the frame, ns; 0 when the source gave none."""

    damage: Damage = Damage.NONE
    expected_packets: int = 1
    missing: bytes = b""
    """Missing-packet mask (see MISSING_MASK_BYTES); empty when nothing is missing."""

    attributes: Mapping[str, Any] = MappingProxyType({})
    """Attributes that the source sent along (NDAttributes), by name; for outputs in the same process."""
