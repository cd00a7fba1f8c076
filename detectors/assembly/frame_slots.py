"""A frame being assembled, and what gives it memory and takes it over when it is closed."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from detectors.frame import Damage
from detectors.wire.packet_block import FrameMemory


@dataclass(frozen=True, slots=True)
class AssemblyRules:
    """What the configuration says of assembly; see UdpSection."""

    module_id: int
    reorder_window: int = 1
    flush_timeout_s: float = 0.1
    max_frame_gap: int = 100
    max_pulse_jump: int = 100_000
    pulse_id_step: int = 1


class Frame:
    """A frame being assembled. Reused: whoever gets it in ``finish`` copies what is to be kept."""

    def __init__(self, packets: int) -> None:
        self.packets = packets
        self.index = -1
        """framenum; -1 when not in use."""
        self.pulse_id = 0
        self.daq_rec = 0
        self.began_s = 0.0
        """When its first packet was received, monotonic, s."""
        self.mask = np.zeros(packets, np.bool_)
        """Packets that came."""
        self.count = 0
        self.flagged = False
        """Whether any packet's pulse_id was bad."""
        self.slot: Any = None
        self.rows: np.ndarray | None = None
        """uint8[packets, packet_data_bytes], the slot's memory; None when no slot was free."""
        self.bits = 0
        self.pulse: int | None = None
        self.bad_pulse = False
        self.top = 0
        """One above the highest packet placed: nothing from here on can be a duplicate."""

    @property
    def damage(self) -> Damage:
        """What is wrong with it."""
        complete = self.count == self.packets
        if complete and not self.flagged:
            return Damage.NONE
        missing = Damage.NONE if complete else Damage.MISSING_DATA
        return missing | (Damage.BAD_PULSE if self.flagged else Damage.NONE)


class FrameSlots(Protocol):
    """Where frames get their memory and where they go."""

    def claim(self, pulse_id: int, *, wait: bool = True) -> FrameMemory | None:
        """Return memory for a frame; None when there is none. ``wait``: as long as is allowed, for one to come free."""
        ...

    def discard(self, slot: Any) -> None:
        """Take back memory that was claimed for a frame that did not come."""
        ...

    def finish(self, slot: Any, frame: Frame) -> None:
        """Take a closed frame over; the pixels of missing packets are zero."""
        ...
