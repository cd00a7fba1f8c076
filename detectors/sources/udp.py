"""Receives the packets of one module: many per system call, headers into a table, pixels to where they belong.

``recvmmsg`` is called through ctypes with everything it needs built once; the call releases the GIL. The pixels of a packet
are received straight into the rows that the caller offers (``Landing``), the rest into the block's own rows.
"""

import ctypes
import errno
import math
import os
import socket
import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.errors import HostError
from detectors.geometry import ModuleGeometry
from detectors.pools.region import Region
from detectors.pools.socket_ring import SocketRing
from detectors.wire.headers import PulseFrom
from detectors.wire.packet_block import STAMP, Landing, PacketBlock

LEAST_BATCH: Final = 2048
"""Packets taken by one call, at least."""

MOST_SENDERS: Final = 1024
"""Different senders counted; a flood of made-up addresses must not grow memory."""

_SENDERS_STRIDE: Final = 16
"""The sender of one packet in so many is recorded, unless a source is configured: recording all costs the kernel 5 %."""

_MSG_DONTWAIT: Final = 0x40
_MSG_TRUNC: Final = 0x20
"""Report the true length of a datagram, also when it is longer than its place."""

_MMSGHDR: Final = np.dtype(
    {
        "names": ["name", "namelen", "iov", "iovlen", "control", "controllen", "flags", "len"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
"""Linux's ``struct mmsghdr`` on a 64-bit machine."""
_IOVEC: Final = np.dtype([("base", "u8"), ("len", "u8")])
_SOCKADDR_IN: Final = np.dtype([("sender", "u8"), ("zero", "u8")])
"""Linux's ``struct sockaddr_in``; ``sender`` is family, port and address in one word."""
assert _SOCKADDR_IN.itemsize == 16
_STAMP_CMSG: Final = np.dtype([("len", "u8"), ("level", "i4"), ("type", "i4"), ("stamp", STAMP)])
"""The control message with the time at which the kernel got a packet."""
assert _STAMP_CMSG.itemsize == 32
_SO_TIMESTAMPNS: Final = 35
_STAMP_STRIDE: Final = 16
"""The time of one packet in so many is recorded, at most: a control message for each costs the kernel as much as a sender."""
_NO_DATA: Final = frozenset({errno.EAGAIN, errno.EINTR})

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
_recvmmsg.restype = ctypes.c_int


class UdpSource:
    """The socket of one module and the block it is received into. Used by one thread.

    ``source`` is the sender to accept, ``ip`` or ``ip:port``; packets of others are marked in ``block.foreign``.
    Raises HostError when the port is in use or the address is not this host's.
    """

    def __init__(
        self,
        geometry: ModuleGeometry,
        address: str,
        port: int,
        *,
        ring_count: int,
        ring_size: int,
        source: str = "",
        pulse_from: PulseFrom = "bunchid",
    ) -> None:
        self.batch = max(LEAST_BATCH, geometry.packets_per_frame)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self.ring = SocketRing(self._socket, ring_count, ring_size)
            self._region = Region.anonymous(self.batch * geometry.packet_data_bytes)
            self._bind(address, port)
        except BaseException:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self.block = PacketBlock(geometry, self.batch, self._region.array, pulse_from=pulse_from)
        self.buffer_packets = self.ring.granted_bytes // self.block.packet_bytes
        """Packets that the socket buffer holds, about: the kernel's own overhead per packet is in the grant."""
        self._mask, self._wanted = _sender_filter(source)
        self._stride = 1 if self._mask else _SENDERS_STRIDE
        self._messages = self._build_messages(geometry)
        self._arguments = (self._socket.fileno(), self._messages.ctypes.data, self.batch, _MSG_DONTWAIT | _MSG_TRUNC)
        self.senders = 0
        """Different senders seen, up to MOST_SENDERS."""
        self._senders: set[int] = set()
        self._latest_sender = bytes(8)
        if self._mask:
            self.block.foreign = np.zeros(self.batch, np.bool_)
            self._masked = np.zeros(self.batch, np.uint64)

    def fileno(self) -> int:
        """Return the socket's descriptor: readable when a packet is there."""
        return self._socket.fileno()

    def poll(self, landings: Sequence[Landing] = ()) -> int:
        """Receive what is there, up to a batch; return how many packets. Never waits.

        The pixels of the first packets go to ``landings``, as far as they reach. Raises HostError when the socket fails.
        """
        if landings or self._aimed:
            self._aim(landings)
        self._ask_for_stamps(landings[0].count if landings else 0)
        n = _recvmmsg(*self._arguments, None)
        if n <= 0:
            number = ctypes.get_errno() if n else 0
            if number and number not in _NO_DATA:
                raise HostError(f"port {self.port}: receiving failed: {os.strerror(number)}; look at the interface")
            return 0
        self.block.received, self.block.received_ns = n, time.time_ns()
        words = self._sender_words[: -(-n // self._stride)]
        if words.tobytes() != self._latest_sender * len(words):
            self._note_senders(words)
        if self._mask:
            foreign = self.block.foreign
            assert foreign is not None
            masked = self._masked[:n]
            np.bitwise_and(words, self._mask, out=masked)
            np.not_equal(masked, self._wanted, out=foreign[:n])
        return n

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _bind(self, address: str, port: int) -> None:
        try:
            self._socket.bind((address, port))
        except OSError as error:
            remedy = {
                errno.EADDRINUSE: "another program listens there; stop it, or give the module another port",
                errno.EADDRNOTAVAIL: "no interface of this host has that address; give one that has, or 0.0.0.0",
                errno.EACCES: "ports below 1024 need privileges; give a higher one",
            }.get(error.errno or 0, "give an IPv4 address of this host")
            raise HostError(f"udp {address}:{port}: {error.strerror}: {remedy}") from None

    def _build_messages(self, geometry: ModuleGeometry) -> np.ndarray:
        """Return the table that recvmmsg works on: one place of the block and one sender's address for each message."""
        block, count = self.block, self.batch
        numbers = np.arange(count, dtype=np.uint64)
        self._iovecs = np.zeros((count, 2), _IOVEC)
        self._iovecs["base"][:, 0] = block.headers.ctypes.data + numbers * block.header_bytes
        self._iovecs["len"][:, 0] = block.header_bytes
        self._iovecs["len"][:, 1] = block.row_bytes
        # Signed, so that adding a Python int to them takes no detour over floats.
        self._row_address = self._iovecs["base"].view(np.int64)[:, 1]
        self._row_offset = numbers.astype(np.int64) * block.row_bytes
        self._home = self._region.address + self._row_offset
        self._row_address[:] = self._home
        self._aimed = 0
        stride = self._stride
        self._names = np.zeros(-(-count // stride), _SOCKADDR_IN)
        self._sender_words = self._names["sender"]
        messages = np.zeros(count, _MMSGHDR)
        # The kernel writes the length of the name back: the same 16 for IPv4, so it never has to be set again.
        messages["name"][::stride] = self._names.ctypes.data + numbers[: len(self._names)] * _SOCKADDR_IN.itemsize
        messages["namelen"] = _SOCKADDR_IN.itemsize
        messages["iov"] = self._iovecs.ctypes.data + numbers * 2 * _IOVEC.itemsize
        messages["iovlen"] = 2
        self._controls = np.zeros(count, _STAMP_CMSG)
        messages["control"] = self._controls.ctypes.data + numbers * _STAMP_CMSG.itemsize
        self._control_bytes = messages["controllen"]
        # A power of two that divides the packets of a frame: what is asked of one frame's first packet is asked of all.
        block.stamps, block.stamp_stride = self._controls["stamp"], math.gcd(geometry.packets_per_frame, _STAMP_STRIDE)
        self._control_bytes[:: block.stamp_stride] = _STAMP_CMSG.itemsize
        block.lengths = messages["len"]
        return messages

    def _ask_for_stamps(self, rest: int) -> None:
        """Ask for the time of every so many packets, with the first one behind the ``rest`` of a frame among them."""
        block, lengths = self.block, self._control_bytes
        first, stride, stale = rest % block.stamp_stride, block.stamp_stride, block.received
        if first != block.stamp_first:
            lengths[block.stamp_first :: stride] = 0
            block.stamp_first, stale = first, len(lengths)
        # The kernel leaves the length that it used, 0 when it had nothing to say.
        lengths[first:stale:stride] = _STAMP_CMSG.itemsize

    def _aim(self, landings: Sequence[Landing]) -> None:
        """Point the rows of the coming packets to the landings, those beyond them to the block."""
        i = 0
        for landing in landings:
            j = min(self.batch, i + landing.count)
            np.add(self._row_offset[: j - i], landing.address, out=self._row_address[i:j])
            i = j
        if i < self._aimed:
            self._row_address[i : self._aimed] = self._home[i : self._aimed]
        self._aimed = i
        self.block.landings = landings

    def _note_senders(self, words: np.ndarray) -> None:
        self._latest_sender = words[-1].tobytes()
        if len(self._senders) < MOST_SENDERS:
            self._senders.update(words.tolist())  # np.unique would import numpy.ma here, while packets come
            self.senders = len(self._senders)


def _sender_filter(source: str) -> tuple[np.uint64, np.uint64]:
    """Return (mask, value) for the first word of a sender's address; a mask of 0 accepts all."""
    if not source:
        return np.uint64(0), np.uint64(0)
    host, _, port = source.partition(":")
    family = np.uint16(socket.AF_INET).tobytes()
    wanted = family + (int(port).to_bytes(2, "big") if port else bytes(2)) + socket.inet_aton(host)
    mask = b"\xff\xff" + (b"\xff\xff" if port else bytes(2)) + b"\xff\xff\xff\xff"
    return np.frombuffer(mask, np.uint64)[0], np.frombuffer(wanted, np.uint64)[0]
