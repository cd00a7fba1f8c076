"""A module's frame as packets. Pure: frames in, packets out."""

import numpy as np

from detectors.frame import FrameHead
from detectors.geometry import ModuleGeometry
from detectors.wire.headers import HEADERS

_TICK_NS = 100
"""The header's timestamp counts a 10 MHz clock. Source: slsDetectorPackage."""


class ModulePackets:
    """The packets of one frame, whole, in memory of their own: each a row of ``packets``, uint8[count, packet_bytes]."""

    def __init__(self, geometry: ModuleGeometry) -> None:
        header = HEADERS[geometry.header]
        self._layout = geometry.layout
        count, data_bytes = geometry.packets_per_frame, geometry.packet_data_bytes
        self.packets = np.zeros((count, header.itemsize + data_bytes), np.uint8)
        self._headers = np.ndarray((count,), header, self.packets, 0, (self.packets.shape[1],))
        self._pixels = self.packets[:, header.itemsize :]
        self._headers["packetnum"] = np.arange(count)
        self._headers["headerVersion"] = 2

    def fill(self, data: np.ndarray, head: FrameHead) -> None:
        """Fill in a frame; ``data`` holds its pixels, unpacked, in any shape, contiguous.

        The time stamp is ``detector_time``, or, where that is 0, made of ``timestamp_ns``.
        """
        self._headers["framenum"] = head.frame_index
        self._headers["bunchid"] = head.pulse_id
        self._headers["debug"] = head.daq_rec & 0xFFFF_FFFF
        self._headers["moduleID"] = head.module_id & 0xFFFF
        self._headers["timestamp"] = head.detector_time or head.timestamp_ns // _TICK_NS
        self._pixels[:] = self._layout.store(data).reshape(self._pixels.shape)

    def blank(self) -> np.ndarray:
        """Return bool[count]: the packets whose pixels are all 0."""
        return np.logical_not(self._pixels.any(axis=1))
