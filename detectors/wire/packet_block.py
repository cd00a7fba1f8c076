"""A block of packets as they lie in memory: headers in one table, pixels in rows of their own, and views of all fields."""

from collections.abc import Sequence
from typing import Final, LiteralString, Protocol

import numpy as np

from detectors.geometry import ModuleGeometry
from detectors.wire.headers import HEADERS, PulseFrom

STAMP: Final = np.dtype([("seconds", "<i8"), ("ns", "<i8")])
"""Linux's ``struct timespec``: POSIX time."""


class FrameMemory(Protocol):
    """The memory of one frame's pixels."""

    pulse_id: int
    """Pulse that it was claimed for."""
    address: int
    """Address of ``data``."""

    @property
    def data(self) -> np.ndarray:
        """uint8[frame_bytes], writable."""
        ...


class Landing:
    """Rows of a frame's memory that the coming packets are received into, if they are the ones expected.

    ``count`` rows of ``row_bytes``, at ``address``, from row ``first`` of the frame on; packets fill them in order.
    """

    __slots__ = ("_first", "_row_bytes", "address", "count", "memory")

    def __init__(self, memory: FrameMemory, row_bytes: int, first: int, count: int) -> None:
        self.address = memory.address + first * row_bytes
        self.count = count
        self.memory = memory
        self._row_bytes = row_bytes
        self._first = first

    @property
    def rows(self) -> np.ndarray:
        """uint8[count, row_bytes]; seldom needed, so made on demand."""
        return self.memory.data.reshape(-1, self._row_bytes)[self._first : self._first + self.count]


def origin_of(headers: np.ndarray) -> np.ndarray:
    """Return the words that hold moduleID, row (xCoord) and column (yCoord) of a table of headers, as they lie on the wire.

    A view, uint64[count].
    """
    fields = headers.dtype.fields
    assert fields is not None
    at = fields["moduleID"][1]
    assert [fields[name][1] - at for name in ("xCoord", "yCoord", "zCoord")] == [2, 4, 6]
    return np.ndarray(headers.shape, np.uint64, headers, at, headers.strides)  # type: ignore[arg-type]


class PacketBlock:
    """Room for ``count`` packets of one geometry, and their headers.

    The header views (``framenum``, ``packetnum``, ``daq_rec``, ...) are strided arrays in the byte order of the wire;
    ``pulse`` is what ``pulse_from`` names: bunchid, framenum or timestamp. ``pulse_bits`` tells streams apart: the bunchid as it
    lies on the wire, to be compared and not read, so that a NaN equals itself; framenum where the bunchid means nothing.
    ``lengths`` is the true length of each datagram, also of one longer than its place; ``foreign``, if not None, marks those
    from a sender that is not the configured one. ``lengths``, ``foreign``, ``landings``, ``received``, ``received_ns``
    and the stamps are set by what fills the block.
    """

    def __init__(
        self,
        geometry: ModuleGeometry,
        count: int,
        memory: np.ndarray | None = None,
        *,
        pulse_from: PulseFrom = "bunchid",
    ) -> None:
        layout = HEADERS[geometry.header]
        self.count = count
        self.header_bytes = layout.itemsize
        self.row_bytes = geometry.packet_data_bytes
        self.packet_bytes = self.header_bytes + self.row_bytes
        self.headers = np.zeros(count, layout)
        self.framenum = self.headers["framenum"]
        self.packetnum = self.headers["packetnum"]
        self.timestamp = self.headers["timestamp"]
        self.pulse = self.headers[pulse_from]
        identity = ("bunchid", "framenum", "moduleID") if pulse_from == "bunchid" else ("framenum", "moduleID")
        self.pulse_bits = self.headers[identity[0]].view(np.uint64)
        self.identity = self._words_of(identity)
        """uint64[count, words]: those words of the headers that are the same on all packets of a frame."""
        self.identity_bytes = self.identity.shape[1] * self.identity.itemsize
        self.origin = origin_of(self.headers)
        self.daq_rec = self.headers["debug"]
        memory = np.zeros(count * self.row_bytes, np.uint8) if memory is None else memory[: count * self.row_bytes]
        self.pixels = memory.reshape(count, self.row_bytes)
        """uint8[count, packet_data_bytes]: the pixels of packets that did not land elsewhere."""
        self.lengths = np.zeros(count, np.uint32)
        self.foreign: np.ndarray | None = None
        """bool[count], or None when every sender is accepted."""
        self.landings: Sequence[Landing] = ()
        """Where the pixels of the first packets were received to instead of ``pixels``, one after the other."""
        self.received = 0
        """Packets in the block."""
        self.received_ns = 0
        """When the packets were taken from the socket, POSIX, ns."""
        self.stamps: np.ndarray | None = None
        """STAMP[count]: when packets arrived, filled in for ``stamp_first`` and every ``stamp_stride``-th after it; None: for none."""
        self.stamp_first, self.stamp_stride = 0, 1

    def arrival_ns(self, i: int) -> int:
        """Return when packet i arrived at the host, POSIX, ns.

        That of the next packet with a stamp, or of the one before when there is none: at most ``stamp_stride - 1`` packets away.
        """
        at = i + (self.stamp_first - i) % self.stamp_stride
        if at >= self.received:
            at -= self.stamp_stride
        if self.stamps is None or at < 0:
            return self.received_ns
        seconds, ns = self.stamps.item(at)
        return seconds * 10**9 + ns

    def _words_of(self, names: Sequence[LiteralString]) -> np.ndarray:
        """Return the words that hold some fields, as a view.

        The layouts have them evenly spaced, away from packetnum and timestamp, so one comparison does for all of them.
        """
        fields = self.headers.dtype.fields
        assert fields is not None
        words = sorted({fields[name][1] // 8 for name in names})
        step = words[1] - words[0]
        assert words == list(range(words[0], words[-1] + 1, step))
        assert not {fields[name][1] // 8 for name in ("packetnum", "timestamp")} & set(words)
        shape, strides = (self.count, len(words)), (self.header_bytes, 8 * step)
        return np.ndarray(shape, np.uint64, self.headers, 8 * words[0], strides)  # type: ignore[arg-type]

    def gather(self, n: int) -> None:
        """Copy the pixels of the first n packets that landed elsewhere into ``pixels``."""
        i = 0
        for landing in self.landings:
            j = min(n, i + landing.count)
            if i < j:
                self.pixels[i:j] = landing.rows[: j - i]
            i = j
        self.landings = ()
