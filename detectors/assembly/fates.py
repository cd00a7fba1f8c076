"""The running counts of what became of packets and frames. One thread counts; ``freeze`` makes the snapshots."""

from detectors.stats import FrameStats, PacketStats


class Fates:
    """Mutable forms of PacketStats and FrameStats; the names are theirs."""

    __slots__ = (
        "alien",
        "bad_pulse",
        "complete",
        "delivered",
        "disabled",
        "duplicate",
        "empty",
        "exhausted",
        "expected",
        "frames_bad_pulse",
        "held",
        "incomplete",
        "late",
        "lost",
        "malformed",
        "placed",
        "received",
        "resyncs",
    )

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    received: int
    placed: int
    bad_pulse: int
    duplicate: int
    late: int
    alien: int
    malformed: int
    disabled: int
    held: int
    expected: int
    """Packets of closed frames: those of open frames are added to it when it is frozen."""
    lost: int
    complete: int
    incomplete: int
    empty: int
    delivered: int
    exhausted: int
    frames_bad_pulse: int
    resyncs: int

    def packets(self, in_open_frames: int, kernel_dropped: int = 0) -> PacketStats:
        """Return the fates of packets. ``in_open_frames`` are those placed in frames not yet closed."""
        return PacketStats(
            received=self.received,
            placed=self.placed,
            bad_pulse=self.bad_pulse,
            duplicate=self.duplicate,
            late=self.late,
            alien=self.alien,
            malformed=self.malformed,
            disabled=self.disabled,
            held=self.held,
            expected=self.expected + in_open_frames,
            lost=self.lost,
            kernel_dropped=kernel_dropped,
        )

    def frames(self) -> FrameStats:
        """Return the fates of frames."""
        return FrameStats(
            complete=self.complete,
            incomplete=self.incomplete,
            empty=self.empty,
            delivered=self.delivered,
            exhausted=self.exhausted,
            bad_pulse=self.frames_bad_pulse,
            resyncs=self.resyncs,
        )
