"""A frame that is being assembled: what is known of it, which packets came, and the memory that their pixels are in."""

from typing import Any, Final, TypeAlias

import numpy as np

from detectors.assembly.datagram import missing_mask
from detectors.frame import Damage, FrameHead
from detectors.wire.packet_block import FrameMemory

Finished: TypeAlias = tuple[Any, FrameHead]
"""A closed frame: the FrameMemory that was claimed for it, and what is known of it. Pixels of missing packets are zero."""

UNUSED: Final = -1
"""The index of a frame that is not open."""


class OpenFrame:
    """One frame after the other uses it."""

    def __init__(self, packets: int, row_bytes: int, module_id: int) -> None:
        self._packets = packets
        self._row_bytes = row_bytes
        self._module_id = module_id
        self.index = UNUSED
        """framenum"""
        self.bits = 0
        """The pulse_id of its first packet as it lies on the wire."""
        self.pulse: int | None = None
        """The same read; None when unusable."""
        self.pulse_id = 0
        self.bad_pulse = False
        """Whether the pulse_id of its first packet, and so of the frame, is bad."""
        self.flagged = False
        """Whether any packet's pulse_id is bad."""
        self.daq_rec = 0
        self.received_ns = 0
        """When its first packet arrived at the host, POSIX, ns."""
        self.detector_time = 0
        """The time stamp in the header of its first packet."""
        self.memory: FrameMemory | None = None
        """None when there was none to be had: packets are counted, pixels dropped."""
        self._rows: np.ndarray | None = None
        self.count = 0
        """Packets that came."""
        self.top: int = 0
        """One above the highest packet that came. While it equals ``count`` they came in order, and need no mask."""
        self._mask = np.zeros(packets, np.bool_)

    def begin(  # noqa: PLR0917  called once a frame, by position for speed
        self, index: int, bits: int, pulse: int | None, daq_rec: int, received_ns: int, detector_time: int = 0
    ) -> None:
        """Become another frame, of which no packet is placed yet. The caller sets ``pulse_id`` and ``memory``."""
        self.index, self.bits, self.pulse, self.daq_rec, self.received_ns = index, bits, pulse, daq_rec, received_ns
        self.detector_time = detector_time
        self.count = 0
        self.top = 0
        self.bad_pulse = self.flagged = False

    def end(self) -> None:
        """Become unused; nothing of the memory is kept."""
        self.index, self.memory, self._rows = UNUSED, None, None

    @property
    def complete(self) -> bool:
        """Whether all packets came."""
        return self.count == self._packets

    @property
    def rows(self) -> np.ndarray | None:
        """uint8[packets, packet_data_bytes]; made when first asked for, most frames never need it."""
        if self._rows is None and self.memory is not None:
            self._rows = self.memory.data.reshape(self._packets, self._row_bytes)
        return self._rows

    @property
    def mask(self) -> np.ndarray:
        """bool[packets]: those that came."""
        if self.count == self.top:
            self._mask[: self.top] = True
            self._mask[self.top :] = False
        return self._mask

    def grow(self, count: int) -> None:
        """Take packets that landed at ``top``: their pixels are in the frame's memory."""
        if self.count != self.top:
            self._mask[self.top : self.top + count] = True
        self.top += count
        self.count += count

    def place(self, first: int, pixels: np.ndarray) -> int:
        """Place packets from number ``first`` on; return how many of them had not come before."""
        last, total, rows = first + len(pixels), len(pixels), self.rows
        if first == self.top == self.count:
            if rows is not None:
                rows[first:last] = pixels
            self.count = self.top = last
            return total
        mask = self.mask
        fresh = ~mask[first:last]
        new = int(np.count_nonzero(fresh))
        if rows is not None:
            if new == total:
                rows[first:last] = pixels
            else:
                rows[first:last][fresh] = pixels[fresh]
        mask[first:last] = True
        self.top = max(self.top, last)
        self.count += new
        return new

    def adopt(self, other: "OpenFrame") -> None:
        """Take over all packets of another frame; none is placed here yet."""
        mask = other.mask
        if self.rows is not None and other.rows is not None:
            self.rows[mask] = other.rows[mask]
        self._mask[:] = mask
        self.count, self.top = other.count, other.top

    def zero_missing(self) -> None:
        """Overwrite what an older frame, or a packet that landed by mistake, left where no packet came."""
        if self.rows is not None:
            self.rows[~self.mask] = 0

    def head(self) -> FrameHead:
        """Return what is known of it."""
        damage, missing = Damage.BAD_PULSE if self.flagged else Damage.NONE, b""
        if not self.complete:
            damage |= Damage.MISSING_DATA
            missing = missing_mask(self.mask)
        return FrameHead(
            self.pulse_id,
            self.index,
            self.daq_rec,
            self.count,
            self._module_id,
            self.received_ns,
            self.detector_time,
            damage,
            self._packets,
            missing,
        )
