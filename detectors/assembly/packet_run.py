"""Packets in a row, the unit in which packets that did not land where expected are dealt with. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from detectors.wire.packet_block import PacketBlock


@dataclass(slots=True)  # not frozen: one is made for every frame, and frozen ones take three times as long
class PacketRun:
    """Packets of one frame and one pulse, packet numbers ascending by one."""

    index: int
    """framenum"""
    bits: int
    """The pulse_id as it lies on the wire."""
    pulse: int | None
    """The same read; None when unusable."""
    first: int
    """Packet number of the first."""
    daq_rec: int
    received_ns: int
    """When the first packet arrived at the host, POSIX, ns."""
    pixels: np.ndarray
    """uint8[packets, packet_data_bytes]; a view."""
    detector_time: int = 0
    """The time stamp in the header of the first."""

    @classmethod
    def of_block(cls, block: PacketBlock, i: int, j: int, read: Callable[[float, int], int | None]) -> Self:
        """Return packets i to j - 1 of a block; ``read`` is how a pulse_id is read (``PulseTracker.read``)."""
        index = block.framenum.item(i)
        return cls(
            index,
            block.pulse_bits.item(i),
            read(block.pulse.item(i), index),
            block.packetnum.item(i),
            block.daq_rec.item(i),
            block.arrival_ns(i),
            block.pixels[i:j],
            block.timestamp.item(i),
        )

    def rest(self, skip: int) -> Self:
        """Return the run without its first packets."""
        return replace(self, first=self.first + skip, pixels=self.pixels[skip:]) if skip else self

    def until(self, count: int) -> Self:
        """Return the first packets of the run."""
        return replace(self, pixels=self.pixels[:count]) if count < len(self.pixels) else self

    def agrees(self, bits: int, pulse: int | None) -> bool:
        """Whether it can be of the same frame as packets with this pulse_id: an unusable one contradicts none."""
        return self.bits == bits or self.pulse is None or pulse is None
