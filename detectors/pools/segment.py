"""Layout of a pebble's memory: header, info, slot table, slots. Pure, but for the bytes it is given.

::

    0             SEGMENT_HEADER, then the info as JSON
    table_offset  SLOT_ENTRY of each slot                       (on a page)
    slots_offset  slot 0, slot 1, ... of slot_bytes each        (on a page)

``seq`` of an entry is a sequence lock: odd while the slot is loaned and its bytes may change, even when it is published.
A reader copies, and keeps the copy only if ``seq`` was even before and is the same after. Both sides keep the order of
their loads and stores by ``detectors.pools.fence``.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from detectors.errors import HostError, SizingError
from detectors.frame import FRAME_HEAD, MISSING_MASK_BYTES, RecordShape
from detectors.pools.fence import FENCE
from detectors.pools.region import PAGE, round_to_page
from detectors.pools.sentinel import SENTINEL_BYTES

SEGMENT_MAGIC: Final = 0x31304C4245425050  # "PPBEBL01" in memory
SEGMENT_VERSION: Final = 3

SEGMENT_HEADER: Final = np.dtype(
    [
        ("magic", "<u8"),
        ("version", "<u4"),
        ("closed", "<u4"),
        ("table_offset", "<u8"),
        ("slots_offset", "<u8"),
        ("count", "<u8"),
        ("slot_bytes", "<u8"),
        ("data_bytes", "<u8"),
        ("align", "<u8"),
        ("pulse_id_step", "<u8"),
        ("owner_pid", "<u8"),
        ("info_bytes", "<u8"),
        ("reserved", "V40"),
    ]
)
assert SEGMENT_HEADER.itemsize == 128

SLOT_ENTRY: Final = np.dtype([("seq", "<u8"), ("head", FRAME_HEAD), ("valid", "<u4"), ("padding", "V52")])
assert SLOT_ENTRY.itemsize == 192

ENTRY_BODY: Final = struct.Struct(f"<5QQQII{MISSING_MASK_BYTES}sI")
"""An entry behind its ``seq``, one at a time: the fields of a ``FrameHead``, and ``valid``."""
assert ENTRY_BODY.size + 8 + 52 == SLOT_ENTRY.itemsize

WORDS_PER_ENTRY: Final = SLOT_ENTRY.itemsize // 8
"""Distance of two ``seq`` in a map of the table as u64: such a map writes the word in one store, ``struct`` does not."""


def least_slot_bytes(shape: RecordShape) -> int:
    """Return the smallest slot for a record: its sectors and the sentinel, in whole pages."""
    return round_to_page(shape.span_bytes + SENTINEL_BYTES)


@dataclass(frozen=True, slots=True)
class SegmentLayout:
    """Where everything lies in a pebble's memory.

    Raises SizingError for a count that is not a power of two or is below 2, a slot that does not hold the record's sectors and
    the sentinel, or one that is not in whole pages, and for sectors larger than a page.
    """

    shape: RecordShape
    count: int
    slot_bytes: int
    pulse_id_step: int
    info: dict[str, Any]

    def __post_init__(self) -> None:
        if self.count < 2 or self.count & (self.count - 1):
            raise SizingError(f"pebble: found a count of {self.count}, expected a power of two of at least 2")
        if self.pulse_id_step < 1:
            raise SizingError(f"pebble: found a pulse_id_step of {self.pulse_id_step}, expected at least 1")
        align = self.shape.align
        if not 1 <= align <= PAGE or align & (align - 1):
            # Memory can be aligned to pages, not to larger sectors.
            raise SizingError(f"pebble: found an align of {align}, expected a power of two of at most {PAGE}")
        if self.slot_bytes < least_slot_bytes(self.shape) or self.slot_bytes % PAGE:
            raise SizingError(
                f"pebble: found slots of {self.slot_bytes:,} bytes, expected at least {least_slot_bytes(self.shape):,} "
                f"for {self.shape.data_bytes:,} bytes of data, in whole pages of {PAGE}"
            )

    @property
    def info_json(self) -> bytes:
        """The info as stored."""
        return json.dumps(self.info, separators=(",", ":")).encode()

    @property
    def table_offset(self) -> int:
        """Where the slot table begins."""
        return round_to_page(SEGMENT_HEADER.itemsize + len(self.info_json))

    @property
    def slots_offset(self) -> int:
        """Where slot 0 begins."""
        return self.table_offset + round_to_page(self.count * SLOT_ENTRY.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole segment."""
        return self.slots_offset + self.count * self.slot_bytes

    def table(self, view: memoryview) -> tuple[memoryview, list[memoryview]]:
        """Return the slot table in a map of the segment: as u64 words, for ``seq``, and each entry behind its ``seq``."""
        size = SLOT_ENTRY.itemsize
        table = view[self.table_offset : self.table_offset + self.count * size]
        return table.cast("Q"), [table[start + 8 : start + size] for start in range(0, len(table), size)]

    def slot_of(self, pulse_id: int) -> int:
        """Return the slot of a pulse."""
        return pulse_id // self.pulse_id_step & (self.count - 1)

    def write(self, memory: np.ndarray, owner_pid: int) -> None:
        """Write header and info; the magic comes last, so that a reader never sees half of them."""
        header = memory[: SEGMENT_HEADER.itemsize].view(SEGMENT_HEADER)
        info = self.info_json
        memory[SEGMENT_HEADER.itemsize : SEGMENT_HEADER.itemsize + len(info)] = np.frombuffer(info, np.uint8)
        places = self.table_offset, self.slots_offset, self.count, self.slot_bytes
        record = self.shape.data_bytes, self.shape.align
        header[0] = 0, SEGMENT_VERSION, 0, *places, *record, self.pulse_id_step, owner_pid, len(info), b""
        if FENCE is not None:
            FENCE()
        header["magic"] = SEGMENT_MAGIC

    def mark_closed(self, memory: np.ndarray) -> None:
        """Mark the segment for readers: no more frames."""
        memory[: SEGMENT_HEADER.itemsize].view(SEGMENT_HEADER)["closed"] = 1

    @classmethod
    def read(cls, memory: np.ndarray, origin: str) -> tuple[Self, int]:
        """Return the layout of a segment and the pid of its owner.

        Raises HostError for a segment that is not a pebble, is of another version, or contradicts itself.
        """
        if memory.size < SEGMENT_HEADER.itemsize:
            raise HostError(f"{origin}: found {memory.size} bytes, too few for a pebble")
        header = memory[: SEGMENT_HEADER.itemsize].view(SEGMENT_HEADER)[0]
        if header["magic"] != SEGMENT_MAGIC or header["version"] != SEGMENT_VERSION:
            raise HostError(
                f"{origin}: no pebble of version {SEGMENT_VERSION} there (yet); is its worker running, in this version?"
            )
        if FENCE is not None:
            FENCE()
        start, length = SEGMENT_HEADER.itemsize, int(header["info_bytes"])
        try:
            layout = cls(
                RecordShape(int(header["data_bytes"]), int(header["align"])),
                int(header["count"]),
                int(header["slot_bytes"]),
                int(header["pulse_id_step"]),
                json.loads(memory[start : start + length].tobytes()),
            )
        except (ValueError, SizingError) as error:
            raise HostError(f"{origin}: the pebble's header is damaged: {error}") from None
        places = layout.table_offset, layout.slots_offset
        if places != (header["table_offset"], header["slots_offset"]) or layout.nbytes > memory.size:
            raise HostError(f"{origin}: the pebble's header does not agree with its {memory.size:,} bytes")
        return layout, int(header["owner_pid"])
