"""The running counts of what became of packets and frames; one thread counts."""

from dataclasses import dataclass, fields
from typing import Final

from detectors.stats import FrameStats, PacketStats

_OF_PACKETS: Final = [f.name for f in fields(PacketStats) if f.name != "kernel_dropped"]
_OF_FRAMES: Final = [f.name for f in fields(FrameStats) if f.name not in ("bad_pulse", "abandoned")]

COUNTED: Final = (
    *(f"packets.{name}" for name in _OF_PACKETS),
    *(f"frames.{name}" for name in ("complete", "incomplete", "empty", "delivered", "exhausted", "bad_pulse")),
    *(f"frames.{name}" for name in ("resyncs", "restarts", "outages", "outage_s")),
)
"""Their names in a snapshot, in the order of ``Fates.account``."""


@dataclass(slots=True)
class Fates:
    """PacketStats and FrameStats as they are counted; the names are theirs."""

    received: int = 0
    placed: int = 0
    bad_pulse: int = 0
    duplicate: int = 0
    late: int = 0
    alien: int = 0
    malformed: int = 0
    disabled: int = 0
    held: int = 0
    expected: int = 0
    """Packets of closed frames."""
    lost: int = 0
    complete: int = 0
    incomplete: int = 0
    empty: int = 0
    delivered: int = 0
    exhausted: int = 0
    frames_bad_pulse: int = 0
    resyncs: int = 0
    restarts: int = 0
    outages: int = 0
    outage_s: float = 0.0

    def account(self, in_hand: int) -> tuple[float, ...]:
        """Return all counts in the order of ``COUNTED``, but for ``in_hand`` packets received whose fate is still open."""
        return (
            self.received - in_hand,
            self.placed,
            self.bad_pulse,
            self.duplicate,
            self.late,
            self.alien,
            self.malformed,
            self.disabled,
            self.held,
            self.expected,
            self.lost,
            self.complete,
            self.incomplete,
            self.empty,
            self.delivered,
            self.exhausted,
            self.frames_bad_pulse,
            self.resyncs,
            self.restarts,
            self.outages,
            self.outage_s,
        )

    def packets(self, in_open_frames: int, kernel_dropped: int = 0) -> PacketStats:
        """Return the fates of packets. Those placed in open frames, ``in_open_frames``, are expected like the others."""
        counts = {name: getattr(self, name) for name in _OF_PACKETS}
        counts["expected"] += in_open_frames
        return PacketStats(**counts, kernel_dropped=kernel_dropped)

    def frames(self) -> FrameStats:
        """Return the fates of frames."""
        return FrameStats(**{name: getattr(self, name) for name in _OF_FRAMES}, bad_pulse=self.frames_bad_pulse)
