"""The timing stream: UDP datagrams into the DMA ring, on a thread of its own.

The thread only moves bytes, so that a busy event thread costs ring space and not kernel drops. Its datagrams are parsed by
the reader of the ring (``detectors.workers.monitor.timing_ring``).
"""

import ipaddress
import logging
import os
import select
import socket
import threading
from collections.abc import Callable
from typing import Final

from detectors.config import TimingSection
from detectors.errors import HostError
from detectors.pools.dma import DmaRing

log = logging.getLogger(__name__)

DATAGRAM_BYTES: Final = 2048
"""Larger datagrams are cut to this; they are not timing headers, and are counted as such."""

_SOCKET_BYTES: Final = 4 << 20
"""Receive buffer asked for, bytes: each queued header takes some 768 of them in the kernel."""

_FULL_S: Final = 0.001
"""Longest wait for room in a full ring, s, before a datagram is lost: a burst must not overrun a reader that is waking up."""


class TimingReceiver:
    """Fills a ring from a socket; ``wake`` is called after each datagram. Raises HostError when it cannot listen.

    A multicast group is shared with other listeners of this host, a plain address is not: two would each get a part.
    """

    def __init__(self, section: TimingSection, ring: DmaRing, wake: Callable[[], object]) -> None:
        self._ring = ring
        self._wake = wake
        self._socket = _listen(section)
        self.port: int = self._socket.getsockname()[1]
        self._stopping = False
        self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="timing", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and free the port. What is in the ring stays there. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        os.eventfd_write(self._bell, 1)
        self._thread.join()
        self._socket.close()
        os.close(self._bell)

    def _run(self) -> None:
        buffer = bytearray(DATAGRAM_BYTES)
        view = memoryview(buffer)
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        waiting.register(self._bell, select.POLLIN)
        while not self._stopping:
            try:
                length = self._socket.recv_into(buffer)
            except BlockingIOError:
                waiting.poll()
                continue
            except OSError as error:
                # An ICMP error of another socket's making, say: it concerns one datagram and not the stream.
                log.warning("timing: %s", error.strerror)
                continue
            self._ring.push(view[:length], _FULL_S)
            self._wake()


def _listen(section: TimingSection) -> socket.socket:
    try:
        address = ipaddress.IPv4Address(section.address)
    except ValueError:
        raise HostError(f"timing.address: found {section.address!r}, expected an IPv4 address") from None
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BYTES)
        if address.is_multicast:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((section.address, section.port))
        if address.is_multicast:
            _join(sock, address)
    except OSError as error:
        sock.close()
        raise HostError(
            f"timing: cannot listen on UDP {section.address}:{section.port}: {error.strerror}; "
            "several PVs of one host share a timing stream by a multicast group as timing.address"
        ) from None
    return sock


def _join(sock: socket.socket, group: ipaddress.IPv4Address) -> None:
    """Join on the routed interface, and on the loopback for a sender of this host. Raises OSError when neither works."""
    refused = False
    for interface in ("0.0.0.0", "127.0.0.1"):  # noqa: S104  the routing table chooses the interface
        try:
            member = group.packed + socket.inet_aton(interface)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        except OSError:
            if refused:
                raise
            refused = True
