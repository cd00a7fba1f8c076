"""The DMA ring of a UDP module: the kernel's receive buffer of its socket, sized, measured and monitored."""

import contextlib
import socket
import struct
import threading
from typing import Final

from detectors.errors import SizingError
from detectors.stats import DmaStats

SO_RCVBUFFORCE: Final = 33
SO_MEMINFO: Final = 55

_MEMINFO: Final = struct.Struct("=I28xI")
"""SK_MEMINFO_*: rmem_alloc, 7 other numbers, drops."""

_MOST: Final = (1 << 30) - 1
"""The kernel doubles what it is asked for in a 32-bit int."""


class SocketRing:
    """``count`` buffers of ``size`` bytes in the receive buffer of ``sock``. For one thread; ``stats`` for any.

    The kernel accounts for a packet about twice its length and doubles the size asked for, so that ``count * size``
    bytes of packets fit, as long as they are not small. A buffer above net.core.rmem_max needs CAP_NET_ADMIN; without,
    the kernel silently grants less: see ``shortfall``.
    """

    def __init__(self, sock: socket.socket, count: int, size: int) -> None:
        if count < 1 or size < 1:
            raise SizingError(f"socket buffer: found {count} x {size} bytes, expected at least 1 x 1")
        self._sock = sock
        self._count, self._size = count, size
        asked = min(count * size, _MOST)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, asked)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, asked)
        self.granted_bytes = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        self._lock = threading.Lock()
        self._high_water = 0
        self._in_use = 0
        self.dropped = 0
        """Packets that the kernel dropped at this socket, as of the last ``sample``."""
        self._last_drops = 0
        self.sample()

    def shortfall(self) -> str:
        """Return one line on what to do about a buffer smaller than asked for; empty when it is not."""
        asked = self._count * self._size
        if self.granted_bytes >= asked:
            return ""
        if asked > _MOST:
            return f"socket buffer: asked for {asked:,} bytes, the kernel allows {_MOST:,}; lower cfgRxCount or cfgSize"
        return (
            f"socket buffer: asked for {asked:,} bytes, granted {self.granted_bytes:,}: packets will be lost in bursts; "
            f"type: sysctl -w net.core.rmem_max={asked}, or give the program CAP_NET_ADMIN"
        )

    def note_drops(self, raw: int) -> None:
        """Take over the kernel's drop count of this socket: 32 bits, and it wraps."""
        with self._lock:
            step = raw - self._last_drops & 0xFFFFFFFF
            # A count older than the last one, from a packet that was queued before it was read, is not a step of 2**32.
            if step < 1 << 31:
                self.dropped += step
                self._last_drops = raw

    def sample(self) -> int:
        """Ask the kernel for queue length and drops (SO_MEMINFO), and return the buffers in use."""
        queued = 0
        with contextlib.suppress(OSError):  # the socket is closed, or the kernel is older than 4.12
            queued, drops = _MEMINFO.unpack(self._sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size))
            self.note_drops(drops)
        self._in_use = min(-(-queued // (2 * self._size)), self._count)
        self._high_water = max(self._high_water, self._in_use)
        return self._in_use

    def stats(self) -> DmaStats:
        """Return a snapshot, freshly asked of the kernel; ``in_use`` is in buffers' worth of queued bytes."""
        self.sample()
        return DmaStats(
            count=self._count,
            size_bytes=self._size,
            total_bytes=self._count * self._size,
            granted_bytes=self.granted_bytes,
            in_use=self._in_use,
            high_water=self._high_water,
            overruns=self.dropped,
        )
