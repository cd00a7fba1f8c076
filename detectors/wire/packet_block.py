"""A block of packets as they lie in memory: one fixed place per packet, and views of the header fields of all."""

from typing import Final

import numpy as np

from detectors.geometry import ModuleGeometry
from detectors.wire.headers import HEADERS

_PLACE_ALIGN: Final = 64
"""Packets begin on cache lines, bytes."""


class PacketBlock:
    """Room for ``count`` packets of one geometry, and what is known of each.

    The header views (``framenum``, ``packetnum``, ``module``, ...) are strided arrays over ``memory`` in the byte order
    of the wire; ``pulse_bits`` is the pulse_id as it lies on the wire, to be compared and not read: so that a NaN
    equals itself. ``lengths`` is the true length of each datagram, also of one longer than its place; ``foreign``, if not
    None, marks those from a sender that is not the configured one. ``lengths`` and ``foreign`` belong to whoever
    fills the block.
    """

    def __init__(self, geometry: ModuleGeometry, count: int, memory: np.ndarray | None = None) -> None:
        layout = HEADERS[geometry.header]
        self.count = count
        self.header_bytes = layout.dtype.itemsize
        self.packet_bytes = self.header_bytes + geometry.packet_data_bytes
        self.stride = self.stride_of(geometry)
        self.memory = np.zeros(self.bytes_of(geometry, count), np.uint8) if memory is None else memory
        """uint8[count * stride]."""
        self.headers = self._view(layout.dtype, 0)
        self.framenum = self.headers["framenum"]
        self.packetnum = self.headers["packetnum"]
        self.pulse = self.headers["bunchid"]
        self.pulse_bits = self._view(np.dtype(np.uint64), layout.dtype.fields["bunchid"][1])  # type: ignore[index]
        self.timestamp = self.headers["timestamp"]
        self.module = self.headers["moduleID"]
        self.daq_rec = self.headers["debug"]
        self.pixels = np.ndarray(
            (count, geometry.packet_data_bytes), np.uint8, self.memory, self.header_bytes, (self.stride, 1)
        )
        """uint8[count, packet_data_bytes]."""
        self.lengths = np.zeros(count, np.uint32)
        self.foreign: np.ndarray | None = None
        """bool[count], or None when every sender is accepted."""

    @staticmethod
    def stride_of(geometry: ModuleGeometry) -> int:
        """Return the bytes from one packet's place to the next."""
        packet_bytes = HEADERS[geometry.header].dtype.itemsize + geometry.packet_data_bytes
        return -(-packet_bytes // _PLACE_ALIGN) * _PLACE_ALIGN

    @classmethod
    def bytes_of(cls, geometry: ModuleGeometry, count: int) -> int:
        """Return the bytes of memory that a block of ``count`` packets needs."""
        return cls.stride_of(geometry) * count

    def _view(self, dtype: np.dtype, offset: int) -> np.ndarray:
        return np.ndarray((self.count,), dtype, self.memory, offset, (self.stride,))
