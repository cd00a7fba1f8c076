"""Replay as UDP packets: received again, the records are byte for byte the same."""

import re
import socket
import time
from typing import Final

import numpy as np

from detectors.buffer.image import Frame, Image
from detectors.buffer.reader import BufferReader
from detectors.errors import ConfigError, HostError
from detectors.frame import MISSING_MASK_BYTES, FrameHead
from detectors.geometry import GEOMETRIES, ModuleGeometry
from detectors.wire.module_packets import ModulePackets

BURST: Final = 16
"""Packets sent between two looks at the clock."""

_SPREAD: Final = 0.8
"""Part of the period over which a pulse's packets are spread."""


def find_geometry(reader: BufferReader, text: str | None = None) -> ModuleGeometry:
    """Return the known geometry called ``text``, or for ``header:packets`` one of so many packets a frame.

    Without ``text``: the known one whose frames are like the recorded ones. Raises ConfigError when there is none.
    """
    info = reader.info
    like = [g for g in GEOMETRIES.values() if (g.shape, g.dtype) == (info.shape, info.dtype)]
    known = f"one of {', '.join(GEOMETRIES)}, or HEADER:PACKETS like sls:64"
    if text is None:
        if not like:
            raise ConfigError(f"geometry: found frames of {list(info.shape)} {info.dtype}; give {known}")
        return like[0]
    if found := re.fullmatch(r"([a-z-]+):(\d+)", text):
        if len(info.shape) != 2:
            raise ConfigError(f"geometry: found frames of {list(info.shape)}, expected rows and columns")
        return ModuleGeometry("custom", found[1], *info.shape, info.dtype, int(found[2]))
    if text not in GEOMETRIES:
        raise ConfigError(f"geometry: found {text!r}, expected {known}")
    if GEOMETRIES[text] not in like:
        raise ConfigError(
            f"geometry: {text} has frames of {list(GEOMETRIES[text].shape)} {GEOMETRIES[text].dtype}, "
            f"but {reader.data_set.path} holds {list(info.shape)} {info.dtype}"
        )
    return GEOMETRIES[text]


class UdpTarget:
    """Sends each module's frames to an address of its own. Packets that were missing are missing again.

    Raises ConfigError when there are not as many addresses as modules, HostError when a socket refuses.
    """

    def __init__(self, reader: BufferReader, geometry: ModuleGeometry, addresses: list[tuple[str, int]]) -> None:
        if len(addresses) != len(reader.modules):
            raise ConfigError(
                f"udp: found {len(addresses)} addresses, expected one for each of {', '.join(reader.modules)}"
            )
        self._addresses = dict(zip(reader.modules, addresses, strict=True))
        self._packets = ModulePackets(geometry)
        self._rows = [memoryview(row.data) for row in self._packets.packets]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def ready(self) -> None:
        """Return at once: a UDP sender cannot see its receivers."""

    def send(self, image: Image, period_s: float) -> int:
        """Send the packets of every module, spread over most of the period."""
        frames = [frame for frame in image.frames if frame]
        share_s = _SPREAD * period_s / len(frames)
        return sum(self._send_frame(frame, share_s) for frame in frames)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send_frame(self, frame: Frame, share_s: float) -> int:
        self._packets.fill(frame.data, frame.head)
        numbers = np.flatnonzero(self._received(frame.head))
        address = self._addresses[frame.module]
        begun = time.monotonic()
        for i, number in enumerate(numbers):
            if i and i % BURST == 0 and (wait_s := begun + share_s * i / len(numbers) - time.monotonic()) > 0:
                time.sleep(wait_s)
            try:
                self._socket.sendto(self._rows[number], address)
            except OSError as error:
                raise HostError(
                    f"{address[0]}:{address[1]}: sending failed: {error.strerror}; check the address and the route"
                ) from None
        return len(numbers)

    def _received(self, head: FrameHead) -> np.ndarray:
        """Return bool[packets]: those that had been received.

        Without a sidecar only their number is known. The missing ones are zeros on disk; which of several packets of
        zeros it were makes no difference to the record.
        """
        count = len(self._rows)
        if head.expected_packets:
            mask = np.frombuffer(head.missing.ljust(MISSING_MASK_BYTES, b"\0"), np.uint8)
            return np.unpackbits(mask, bitorder="little")[:count] == 0
        missing = np.flatnonzero(self._packets.blank())[: max(0, count - head.n_recv_packets)]
        received = np.ones(count, bool)
        received[missing] = False
        return received
