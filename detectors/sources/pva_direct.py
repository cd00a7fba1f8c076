"""Our own PVA client: the kernel writes the pixels straight into the slot, nothing else touches them.

For channels whose first field is an array of numbers, or NTNDArray's union of such. Anything else raises HandOverError,
and p4p takes it. A connection is given up, and sought again with back-off, when the server closes it, when it stops in the
middle of a message, when it does not answer an echo, and when it sends what is no pvAccess.
"""

import contextlib
import logging
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.errors import WireError
from detectors.sources.delivery import Delivery, update_of
from detectors.sources.image_source import ImageSink
from detectors.sources.pva_environment import Address, search_addresses
from detectors.sources.pva_identity import identity
from detectors.sources.pva_search import Searcher
from detectors.sources.pvspec import PvSpec
from detectors.wire.ntndarray import HEAD_FIELDS, PIXEL_DTYPES, ImageHead, image_head, plain_head
from detectors.wire.pva import ArrayBegins, Introspected, MonitorConnection, Refused, ServerSays, Updated

log = logging.getLogger(__name__)

_TICK_S: Final = 0.2
"""Longest time in one receive call: after it, stops and time-outs are looked at."""

_SILENCE_S: Final = 3.0
"""Time after which a PV that nobody has is reported."""

_QUEUE: Final = 8
"""Updates that the server shall keep for us."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Patience, s."""

    connect: float = 3.0
    stall: float = 10.0
    """Silence in the middle of a message."""
    silence: float | None = None
    """Silence between messages, in spite of an echo; None: EPICS_PVA_CONN_TMO."""
    first_retry: float = 0.05
    last_retry: float = 3.0
    """Retries back off from the first to the last, doubling."""


class HandOverError(Exception):
    """The channel is better served by p4p."""


class _LostError(Exception):
    """The connection is of no more use."""


class DirectClient:
    """Serves one PV on the caller's thread.

    A channel whose first array is below ``least_bytes`` is handed over.
    """

    name = "direct"

    def __init__(self, spec: PvSpec, *, when_full: str, least_bytes: int = 0, timing: Timing | None = None) -> None:
        self._spec = spec
        self._when_full = when_full
        self._least_bytes = least_bytes
        self._timing = timing or Timing()

    def serve(self, sink: ImageSink, stop: threading.Event, wake: threading.Event) -> None:  # noqa: ARG002 - polls
        """Deliver updates until ``stop`` is set.

        Raises HandOverError, with nothing delivered of the present connection, when p4p shall do it.
        """
        delivery = Delivery(sink, self._spec, self._when_full, stop)
        retry_s = self._timing.first_retry
        while not stop.is_set():
            address = self._find(delivery, stop)
            if address is None:
                return
            session = _Session(self._spec, delivery, stop, self._timing, self._least_bytes)
            try:
                session.run(address)
            except (_LostError, WireError, OSError) as error:
                session.give_up()
                delivery.disconnected(f"{self._spec.pv} at {address[0]}:{address[1]}: {error}")
            if session.delivered:
                retry_s = self._timing.first_retry
            stop.wait(retry_s)
            retry_s = min(2 * retry_s, self._timing.last_retry)

    def _find(self, delivery: Delivery, stop: threading.Event) -> Address | None:
        """Search until somebody has the PV; None when told to stop."""
        started, wait_s = time.monotonic(), 0.1
        searcher = Searcher(self._spec.pv, search_addresses(), stop)
        with contextlib.closing(searcher):
            while not stop.is_set():
                address = searcher.find(wait_s)
                if address is not None:
                    return address
                if time.monotonic() - started > _SILENCE_S:
                    delivery.disconnected(f"{self._spec.pv}: no server answered for it in {_SILENCE_S:g} s")
                wait_s = min(2 * wait_s, self._timing.last_retry)
        return None


class _Session:
    """One connection, from its beginning to its end."""

    def __init__(
        self, spec: PvSpec, delivery: Delivery, stop: threading.Event, timing: Timing, least_bytes: int
    ) -> None:
        self._spec = spec
        self._delivery = delivery
        self._stop = stop
        self._timing = timing
        self._silence_s = timing.silence or search_addresses().connection_timeout_s
        self._least_bytes = least_bytes
        self._connection = MonitorConnection(spec.pv, *identity(), queue=_QUEUE)
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._is_image = False
        self._heard = self._spoke = 0.0
        self._slot: memoryview | None = None
        self._scratch: np.ndarray | None = None
        """Where the array lies that could not be received into a slot; None when it was let go by."""
        self._keep: np.ndarray | None = None
        """Memory of the last compressed array, to be used again."""
        self.delivered = False

    def run(self, address: Address) -> None:
        """Serve until told to stop. Raises _LostError, WireError, OSError when the connection ends before that."""
        with self._sock as sock:
            sock.settimeout(self._timing.connect)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(None)  # from here on the kernel's own time-out ends each call
            tick = struct.pack("ll", 0, int(_TICK_S * 1e6))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tick)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(self._timing.stall) or 1, 0))
            self._heard = self._spoke = time.monotonic()
            self._delivery.idle = self._keep_alive
            while not self._stop.is_set():
                event = self._connection.next_event()
                if event is None:
                    self._send()
                    self._receive()
                else:
                    self._handle(event)
            self.give_up()
            with contextlib.suppress(OSError):  # the server may be gone already, and we go too
                self._take_leave()

    def _take_leave(self) -> None:
        """End the subscription in good manners: closing with bytes unread would reset the connection."""
        self._connection.send_goodbye()
        self._send()
        self._sock.shutdown(socket.SHUT_WR)
        waste, until = bytearray(1 << 16), time.monotonic() + _TICK_S
        while time.monotonic() < until and self._sock.recv_into(waste):
            pass

    def give_up(self) -> None:
        """Give the slot back that will not be filled."""
        if self._slot is not None:
            self._slot = None
            self._delivery.sink.abandon()

    def _send(self) -> None:
        data = self._connection.outgoing()
        if data:
            self._sock.sendall(data)
            self._spoke = time.monotonic()

    def _receive(self) -> None:
        wanted = self._connection.want()
        flags = socket.MSG_WAITALL if self._connection.mid_array else 0
        try:
            received = (
                self._sock.recv_into(wanted[0], 0, flags)
                if len(wanted) == 1
                else self._sock.recvmsg_into(wanted, 0, flags)[0]
            )
        except BlockingIOError:  # the tick is over
            self._check_silence()
            return
        if not received:
            raise _LostError("the server closed the connection")
        self._heard = time.monotonic()
        self._connection.received(received)
        self._keep_alive()

    def _check_silence(self) -> None:
        silent_s = time.monotonic() - self._heard
        if self._connection.mid_message and silent_s > self._timing.stall:
            raise _LostError(f"the server stopped in the middle of a message {silent_s:.1f} s ago")
        if not self._connection.validated and silent_s > self._timing.connect:
            raise _LostError(f"the server did not greet us within {self._timing.connect:g} s")
        if silent_s > self._silence_s:
            raise _LostError(f"the server has been silent for {silent_s:.1f} s, and does not answer an echo")
        if not self._connection.mid_message:
            self._keep_alive()

    def _keep_alive(self) -> None:
        """Send an echo now and then: servers give up silent clients, and its answer shows that the server is there."""
        now = time.monotonic()
        if now - self._spoke > self._silence_s / 2:
            self._spoke = now
            self._connection.send_echo()
            self._send()

    def _handle(self, event: object) -> None:
        if isinstance(event, ArrayBegins):
            self._connection.supply(self._memory_for(event))
        elif isinstance(event, Updated):
            self._on_update(event)
        elif isinstance(event, Introspected):
            self._on_type(event)
        elif isinstance(event, Refused):
            raise _LostError(event.reason)
        elif isinstance(event, ServerSays):
            log.info("%s: the server says: %s", self._spec.pv, event.text)

    def _on_type(self, event: Introspected) -> None:
        names = event.desc.names
        if not event.streamed or names[0] != self._spec.field:
            raise HandOverError(f"its field {self._spec.field!r} is no array at the front of {event.desc.id or 'it'}")
        self._is_image = "dimension" in names
        self._connection.start_monitor()

    def _memory_for(self, array: ArrayBegins) -> memoryview | None:
        """Return where the array shall be received: a slot, if it is like the last one; else it must be looked at."""
        last = self._delivery.description
        wire_dtype = PIXEL_DTYPES.get(array.name, array.dtype)
        straight = (
            last is not None
            and not last.codec
            and last.payload_bytes == array.nbytes
            and np.dtype(last.dtype) == _memory_dtype(wire_dtype)
        )
        self._scratch = None
        if straight:
            self._slot = self._delivery.slot(array.nbytes)
            return self._slot
        if self._keep is None or self._keep.nbytes < array.nbytes:
            self._keep = np.empty(array.nbytes, np.uint8)
        self._scratch = self._keep[: array.nbytes]
        return self._scratch.data

    def _on_update(self, event: Updated) -> None:
        if event.array is None:
            self._delivery.empty()
            return
        try:
            head = self._delivery.conform(self._head(event, event.array))
        except WireError as error:
            self.give_up()
            self._delivery.sink.bad(str(error))
            return
        if not self.delivered and self._delivery.description is None and head.nbytes < self._least_bytes:
            raise HandOverError(f"its arrays of {head.nbytes} bytes are small")
        self.delivered = True
        if self._slot is not None:
            self._finish_slot(self._slot, event.array, head)
        elif self._scratch is not None:
            _to_native(self._scratch, event.array.dtype)
            self._delivery.array(self._scratch, head)
            if not head.codec:
                self._scratch = self._keep = None  # seldom needed again, and as large as a slot
        else:
            self._delivery.announce(head)
            self._delivery.sink.dropped(update_of(head))

    def _finish_slot(self, slot: memoryview, array: ArrayBegins, head: ImageHead) -> None:
        """Pass the slot on; if the fields behind the pixels say that they are something else, start over with them."""
        pixels = np.frombuffer(slot, np.uint8)
        _to_native(pixels, array.dtype)
        if self._delivery.is_like(head):
            self._slot = None
            self._delivery.sink.update(update_of(head))
            return
        copy = pixels.copy()
        self.give_up()
        self._delivery.array(copy, head)

    def _head(self, event: Updated, array: ArrayBegins) -> ImageHead:
        dtype = _memory_dtype(array.dtype)
        if not self._is_image:
            return plain_head(event.fields, dtype, (array.count,))
        fields = {name: event.fields[name] for name in HEAD_FIELDS if name in event.fields}
        return image_head(fields, dtype, array.count)


def _memory_dtype(dtype: np.dtype) -> np.dtype:
    """Return the dtype in memory: native, and bytes for booleans."""
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")


def _to_native(data: np.ndarray, dtype: np.dtype) -> None:
    """Turn an array, as it travelled, into our byte order, in place."""
    if not dtype.isnative:
        data.view(dtype).byteswap(inplace=True)
