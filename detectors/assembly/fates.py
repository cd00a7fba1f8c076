"""The running counts of what became of packets and frames; one thread counts."""

from dataclasses import dataclass, fields
from typing import Final

from detectors.stats import FrameStats, PacketStats

_OF_PACKETS: Final = [f.name for f in fields(PacketStats) if f.name != "kernel_dropped"]
_OF_FRAMES: Final = [f.name for f in fields(FrameStats) if f.name != "bad_pulse"]


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

    def packets(self, in_open_frames: int, kernel_dropped: int = 0) -> PacketStats:
        """Return the fates of packets. Those placed in open frames, ``in_open_frames``, are expected like the others."""
        counts = {name: getattr(self, name) for name in _OF_PACKETS}
        counts["expected"] += in_open_frames
        return PacketStats(**counts, kernel_dropped=kernel_dropped)

    def frames(self) -> FrameStats:
        """Return the fates of frames."""
        return FrameStats(**{name: getattr(self, name) for name in _OF_FRAMES}, bad_pulse=self.frames_bad_pulse)
