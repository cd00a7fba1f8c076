"""What goes wrong on a simulated line: decided ahead and repeatable, so that a test knows every counter. Pure."""

from dataclasses import dataclass

import numpy as np

from detectors.errors import ConfigError

MAX_DISPLACEMENT = 8
"""A reordered packet comes at most this many places later, in the same frame."""


@dataclass(frozen=True, slots=True)
class FaultRates:
    """Fractions of packets, each 0 to 1, that are lost, sent twice, or sent later than their turn."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: found {getattr(self, name)}, expected a fraction from 0 to 1")

    @property
    def any(self) -> bool:
        """Whether anything goes wrong at all."""
        return bool(self.loss or self.duplicate or self.reorder)


@dataclass(frozen=True, slots=True)
class PacketPlan:
    """What is sent of one frame."""

    order: np.ndarray
    """Packet numbers in the order in which they are sent, intp; one sent twice is in it twice."""
    lost: np.ndarray
    """bool[packets]: those that are never sent."""
    duplicated: int
    reordered: int
    """Packets that come after one that they should have preceded."""

    @property
    def complete(self) -> bool:
        """Whether every packet is sent."""
        return not self.lost.any()


def plan_frame(rates: FaultRates, packets: int, *, seed: int, stream: int, frame: int) -> PacketPlan:
    """Return what is sent of a frame. The same arguments give the same plan, whatever frames were planned before.

    ``stream`` tells modules apart that share a seed.
    """
    every = np.arange(packets)
    if not rates.any:
        return PacketPlan(every, np.zeros(packets, bool), 0, 0)
    random = np.random.default_rng((seed, stream, frame))
    lost, twice, moved = (random.random(packets) < rate for rate in (rates.loss, rates.duplicate, rates.reorder))
    # Half a place beyond its new neighbour: a packet moved by one place lands between that neighbour and the next.
    places = every + moved * (random.integers(1, MAX_DISPLACEMENT + 1, packets) + 0.5)
    copies = np.where(lost, 0, 1 + twice)
    order = np.repeat(every, copies)[np.argsort(np.repeat(places, copies), kind="stable")]
    ahead = np.maximum.accumulate(order) if order.size else order
    return PacketPlan(order, lost, int((twice & ~lost).sum()), int((order < ahead).sum()))
