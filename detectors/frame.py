"""Packed layouts that every stage shares: the module frame, the disk record, the sidecar and the damage bits.

Source: sf-buffer's ``ModuleFrame`` and ``BufferBinaryFormat``; LCLS-II's ``Damage``.
"""

import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import Final, NamedTuple, Self

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

_MODULE_FRAME: Final = struct.Struct("<5Q")
assert _MODULE_FRAME.size == MODULE_FRAME.itemsize

MISSING_MASK_BYTES: Final = 64
"""Bytes of a missing-packet mask: one bit per packet, bit ``p % 8`` of byte ``p // 8``; so at most 512 packets a frame."""

FRAME_HEAD: Final = np.dtype(
    [
        *((name, "<u8") for name in MODULE_FRAME.names or ()),
        ("timestamp_ns", "<u8"),
        ("detector_time", "<u8"),
        ("damage", "<u4"),
        ("expected_packets", "<u4"),
        ("missing", "u1", (MISSING_MASK_BYTES,)),
    ]
)
"""A ``FrameHead`` in an array."""
assert FRAME_HEAD.itemsize == 128

SIDECAR: Final = np.dtype(
    [
        ("pulse_id", "<u8"),
        ("timestamp_ns", "<u8"),
        ("detector_time", "<u8"),
        ("damage", "<u4"),
        ("crc32c", "<u4"),
        ("expected_packets", "<u4"),
        ("flags", "<u4"),
        ("missing", "u1", (MISSING_MASK_BYTES,)),
        ("reserved", "u1", (24,)),
    ]
)
"""What ``<file>.meta`` has of each pulse. flags bit 0: record present; bit 1: CRC present."""
assert SIDECAR.itemsize == 128

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


class FrameHead(NamedTuple):
    """What is known of one module's frame beside its pixels: the same from the pebble to the files and streams."""

    pulse_id: int
    frame_index: int
    """The detector's own trigger count."""
    daq_rec: int
    n_recv_packets: int
    module_id: int
    timestamp_ns: int = 0
    """POSIX time of the frame, ns; 0 when it is not known."""
    detector_time: int = 0
    """The detector's own time stamp, in its own units, as on the wire; 0 when it has none."""
    damage: Damage = Damage.NONE
    expected_packets: int = 1
    """Packets of a whole frame; 0 when it is not known."""
    missing: bytes = b""
    """Missing-packet mask (see MISSING_MASK_BYTES); empty when none is missing."""

    @property
    def is_complete(self) -> bool:
        """Whether every packet was received."""
        return self.n_recv_packets >= self.expected_packets

    @property
    def module_frame(self) -> bytes:
        """The documented 40 bytes, MODULE_FRAME."""
        return _MODULE_FRAME.pack(*self[:5])

    @classmethod
    def from_module_frame(cls, data: bytes | memoryview, expected_packets: int) -> Self:
        """Return the head in the documented 40 bytes."""
        return cls(*_MODULE_FRAME.unpack(data), expected_packets=expected_packets)


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
