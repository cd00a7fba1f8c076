"""Reading another process's pebble: no lease, no lock, and a check afterwards that nothing was overwritten meanwhile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from detectors.errors import CapacityError, UseAfterReleaseError
from detectors.frame import MISSING_MASK_BYTES, RECORD_HEADER, Damage, FrameHead
from detectors.pools.fence import FENCE
from detectors.pools.region import Region
from detectors.pools.segment import ENTRY_BODY, SEGMENT_HEADER, SLOT_ENTRY, WORDS_PER_ENTRY, SegmentLayout

T = TypeVar("T")

_CLOSED: Final = int((SEGMENT_HEADER.fields or {})["closed"][1])
"""Where the owner says that it has closed the pebble."""

_NONE_MISSING: Final = bytes(MISSING_MASK_BYTES)


class FoundFrame(NamedTuple):
    """A frame where it lies in the memory of another process, which may overwrite it at any moment."""

    head: FrameHead
    data: np.ndarray
    """Its pixels, uint8[data_bytes], read-only."""
    word: int = 0
    seq: int = 0
    """What that word of the slot table said when it was found."""


class PebbleReader:
    """A read-only map of a pebble. Raises HostError when there is none (yet) at ``region_path``. For one thread."""

    def __init__(self, region_path: Path) -> None:
        self._region = Region.attach(region_path)
        layout, self.owner_pid = SegmentLayout.read(self._region.array, str(region_path))
        self._layout = layout
        self._slots_offset = layout.slots_offset
        self.shape, self.count, self.pulse_id_step = layout.shape, layout.count, layout.pulse_id_step
        self.info: dict[str, Any] = layout.info
        """The owner's description of the detector: names, dtype, shape."""
        self._seq, self._entries = layout.table(self._region.view)
        self._closed = self._region.view[_CLOSED : _CLOSED + 4].cast("I")
        self.overwritten = 0
        """Reads that came too late: a newer frame was in the slot, or was written into it during the read."""
        self.missing = 0
        """Reads of a pulse that was not in its slot, and had not been followed by a newer one."""
        start = layout.table_offset
        self._table = self._region.array[start : start + layout.count * SLOT_ENTRY.itemsize].view(SLOT_ENTRY)
        self._seen = np.zeros(layout.count, np.uint64)

    def replaced(self) -> bool:
        """Whether the owner has closed the pebble or has made another: attach again."""
        return self._region.closed or bool(self._closed[0]) or self._region.replaced()

    def find(self, pulse_id: int) -> FoundFrame | None:
        """Return the frame of a pulse where it lies; None when its slot does not hold it, or is being overwritten.

        Read or copy its pixels, then ask ``check`` whether they were its pixels all the time.
        """
        if self._region.closed:
            raise UseAfterReleaseError("pebble: the reader is closed; attach another")
        layout = self._layout
        slot = layout.slot_of(pulse_id)
        word = slot * WORDS_PER_ENTRY
        seq = self._seq[word]
        if FENCE is not None:
            FENCE()
        *numbers, damage, expected, missing, valid = ENTRY_BODY.unpack_from(self._entries[slot])
        found = numbers[0]
        if found != pulse_id or not valid:
            if valid and found > pulse_id:
                self.overwritten += 1
            else:
                self.missing += 1
            return None
        if seq & 1:
            self.overwritten += 1
            return None
        start = self._slots_offset + slot * layout.slot_bytes + layout.shape.place(pulse_id) + RECORD_HEADER.itemsize
        numbers += (
            Damage(damage) if damage else Damage.NONE,
            expected,
            b"" if missing == _NONE_MISSING else missing,
        )
        data = self._region.array[start : start + layout.shape.data_bytes]
        return FoundFrame(FrameHead._make(numbers), data, word, seq)

    def check(self, frame: FoundFrame) -> bool:
        """Return whether nothing was written where a frame lies since it was found. Call it once: False is counted."""
        if FENCE is not None:
            FENCE()
        kept = self._seq[frame.word] == frame.seq
        self.overwritten += not kept
        return kept

    def read(self, pulse_id: int, out: np.ndarray | None) -> FrameHead | None:
        """Copy the pixels of a pulse into ``out`` (uint8[data_bytes]) and return what is known of the frame.

        With ``out`` None no pixel is read. None when the slot does not hold that pulse, or was overwritten while it was
        read; ``out`` is then undefined.
        Raises CapacityError when ``out`` does not have data_bytes.
        """
        if out is not None and out.nbytes != self.shape.data_bytes:
            raise CapacityError(f"pebble: found {out.nbytes:,} bytes to read into, expected {self.shape.data_bytes:,}")
        frame = self.find(pulse_id)
        if frame is None:
            return None
        if out is not None:
            np.copyto(out, frame.data)
        return frame.head if self.check(frame) else None

    def copy(self, pulse_id: int, take: Callable[[np.ndarray], T]) -> T | None:
        """Return what ``take`` copies of the data of a pulse (uint8[data_bytes]); None when it is not there, or was overwritten meanwhile.

        The data may change while ``take`` reads it: ``take`` must accept any bytes, and keep no view.
        """
        frame = self.find(pulse_id)
        if frame is None:
            return None
        taken = take(frame.data)
        return taken if self.check(frame) else None

    def newest(self) -> int | None:
        """Return the highest pulse that is there; None when there is none."""
        there = self._table["valid"] != 0
        return int(self._table["head"]["pulse_id"][there].max()) if there.any() else None

    def finished(self) -> list[int]:
        """Return the pulses that are there and were not at the last call; ``read`` finds out which stay."""
        now = self._table["seq"].copy()
        changed = (now != self._seen) & (now & 1 == 0) & (self._table["valid"] != 0)
        self._seen = np.where(changed, now, self._seen)
        return self._table["head"]["pulse_id"][changed].tolist()

    def close(self) -> None:
        """Unmap. Idempotent."""
        self._table = np.empty(0, SLOT_ENTRY)
        self._seq.release()
        self._entries.clear()
        self._closed.release()
        self._region.close()
