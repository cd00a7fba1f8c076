"""A subscription to one PV over as many TCP connections as it takes; arrays are received into the subscriber's memory.

A connection is closed, and the server searched again with back-off, when the server closes it, stops in the middle of a
message, does not answer an echo, or sends what is not pvAccess.
"""

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Final, Protocol

from detectors.pva.connection import Event, Introspected, MonitorConnection, Updated
from detectors.pva.encoding import PvaError
from detectors.pva.environment import Address, identity, search_addresses
from detectors.pva.message_stream import ArrayBegins
from detectors.pva.search import Searcher

_TICK_S: Final = 0.2
"""Longest time in one receive call: the interval at which ``stop`` and the time-outs are checked."""

_GATHER_BYTES: Final = 1 << 20
"""Bytes of a large array that are left to gather in the kernel before it wakes us: each wake costs the sender time, too."""

_SILENCE_S: Final = 3.0
"""Time of searching without an answer after which the PV is reported as not found."""


class Subscriber(Protocol):
    """The receiver of one PV's updates; called on the thread of ``Subscription.run()``.

    What a method raises ends ``run()``.
    """

    def introspected(self, event: Introspected) -> None:
        """Note the type of the PV's structure, at the beginning of each connection."""
        ...

    def memory(self, array: ArrayBegins) -> memoryview | None:
        """Return ``array.nbytes`` writable bytes to receive the array into, or None to skip it.

        While it waits, it must call ``Subscription.keep_alive()`` now and then.
        """
        ...

    def updated(self, update: Updated) -> None:
        """Take an update; its array, if it has one, is complete in the memory given."""
        ...

    def disconnected(self, reason: str) -> None:
        """Note that the connection was lost, or the PV not found. Memory given for an array will not be filled."""
        ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time-outs of a subscription, s."""

    connect: float = 3.0
    stall: float = 10.0
    """Silence in the middle of a message."""
    silence: float | None = None
    """Silence between messages, an echo included; None: EPICS_PVA_CONN_TMO."""
    first_retry: float = 0.05
    last_retry: float = 3.0
    """The wait before a retry doubles from the first to the last."""


class Subscription:
    """Monitors one PV on the caller's thread."""

    def __init__(self, pv: str, subscriber: Subscriber, timeouts: Timeouts | None = None) -> None:
        self._pv = pv
        self._subscriber = subscriber
        self._timeouts = timeouts or Timeouts()
        self._silence_s = self._timeouts.silence or search_addresses().connection_timeout_s
        self._connection: MonitorConnection
        self._sock: socket.socket
        self._heard = self._sent = 0.0
        self._gathered = 1
        """Bytes that wake us (SO_RCVLOWAT)."""
        self._updated = False
        """Whether an update came over this connection."""

    def run(self, stop: threading.Event) -> None:
        """Deliver updates until ``stop`` is set."""
        retry_s = self._timeouts.first_retry
        while (address := self._find(stop)) is not None:
            self._updated = False
            try:
                self._serve(address, stop)
            except (PvaError, OSError) as error:
                self._subscriber.disconnected(f"{self._pv} at {address[0]}:{address[1]}: {error}")
            if self._updated:
                retry_s = self._timeouts.first_retry
            stop.wait(retry_s)
            retry_s = min(2 * retry_s, self._timeouts.last_retry)

    def keep_alive(self) -> None:
        """Send an echo after half the silence allowed: servers drop silent clients, and the answer shows that they live.

        Raises OSError when the connection is lost.
        """
        now = time.monotonic()
        if now - self._sent > self._silence_s / 2:
            self._sent = now
            self._connection.send_echo()
            self._send()

    def _find(self, stop: threading.Event) -> Address | None:
        """Search until a server has the PV; None when stopped."""
        started, wait_s = time.monotonic(), 0.1
        with contextlib.closing(Searcher(self._pv, search_addresses(), stop)) as searcher:
            while not stop.is_set():
                address = searcher.find(wait_s)
                if address is not None:
                    return address
                if time.monotonic() - started > _SILENCE_S:
                    self._subscriber.disconnected(f"{self._pv}: no server answered for it in {_SILENCE_S:g} s")
                wait_s = min(2 * wait_s, self._timeouts.last_retry)
        return None

    def _serve(self, address: Address, stop: threading.Event) -> None:
        """Serve one connection until ``stop`` is set. Raises PvaError or OSError when it ends before that."""
        self._connection = MonitorConnection(self._pv, *identity())
        with socket.create_connection(address, self._timeouts.connect) as sock:
            self._sock = sock
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(None)  # from here on the kernel's own time-out ends each call
            tick = struct.pack("ll", *divmod(int(_TICK_S * 1e6), 1_000_000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tick)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(self._timeouts.stall) or 1, 0))
            self._heard = self._sent = time.monotonic()
            self._gathered = 1
            try:
                while not stop.is_set():
                    event = self._connection.next_event()
                    if event is None:
                        self._send()
                        self._receive()
                    else:
                        self._handle(event)
                with contextlib.suppress(OSError):  # the server may have closed the connection already
                    self._close_cleanly()
            finally:
                self._connection.stream.close()

    def _close_cleanly(self) -> None:
        """End the subscription, then read what is on its way: closing with bytes unread would reset the connection."""
        self._connection.send_goodbye()
        self._send()
        self._sock.shutdown(socket.SHUT_WR)
        waste, until = bytearray(1 << 16), time.monotonic() + _TICK_S
        while time.monotonic() < until and self._sock.recv_into(waste):
            pass

    def _send(self) -> None:
        data = self._connection.outgoing()
        if data:
            self._sock.sendall(data)
            self._sent = time.monotonic()

    def _receive(self) -> None:
        wanted = self._connection.stream.want()
        flags = socket.MSG_WAITALL if self._connection.stream.mid_array else 0
        if flags and wanted[0].nbytes >= 2 * _GATHER_BYTES:
            wanted = [wanted[0][:-_GATHER_BYTES]]  # so much will come behind it that the last of it wakes us
            self._wake_after(_GATHER_BYTES)
        else:
            self._wake_after(1)
        try:
            received = self._sock.recvmsg_into(wanted, 0, flags)[0]
        except BlockingIOError:  # the tick is over
            self._check_silence()
            return
        if not received:
            raise ConnectionError("the server closed the connection")
        self._heard = time.monotonic()
        self._connection.stream.received(received)
        self.keep_alive()

    def _wake_after(self, nbytes: int) -> None:
        """Let the kernel wake us when so many bytes are there."""
        if nbytes != self._gathered:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, nbytes)
            self._gathered = nbytes

    def _check_silence(self) -> None:
        silent_s = time.monotonic() - self._heard
        if self._connection.stream.mid_message and silent_s > self._timeouts.stall:
            raise TimeoutError(f"the server stopped in the middle of a message {silent_s:.1f} s ago")
        if not self._connection.validated and silent_s > self._timeouts.connect:
            raise TimeoutError(f"the server did not greet us within {self._timeouts.connect:g} s")
        if silent_s > self._silence_s:
            raise TimeoutError(f"the server has been silent for {silent_s:.1f} s and does not answer an echo")
        if not self._connection.stream.mid_message:
            self.keep_alive()

    def _handle(self, event: Event) -> None:
        if isinstance(event, ArrayBegins):
            self._connection.stream.supply(self._subscriber.memory(event))
        elif isinstance(event, Updated):
            self._subscriber.updated(event)
            self._updated = True
        elif isinstance(event, Introspected):
            self._subscriber.introspected(event)
            self._connection.start_monitor()
