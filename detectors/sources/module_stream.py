"""The modules' latest frames, on this host or on another.

Local: each module's pebble is mapped read-only, and 8-byte notifications name its pulses. Remote: the modules' two-part
streams fill pebbles of our own. After that both look alike: ``poll`` gives the pulses that came, ``readers`` their frames.
"""

import struct
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import zmq

from detectors.errors import HostError, PoolExhaustedError, WireError
from detectors.frame import FrameHead, RecordShape
from detectors.pools.pebble import Pebble, PebbleLease
from detectors.pools.pebble_reader import PebbleReader
from detectors.wire.module_message import parse_module_message

NOTIFICATION: Final = struct.Struct("<Q")
"""What a worker publishes of every frame: its pulse_id."""

_BATCH: Final = 32
"""Most messages of a module taken at a time: consumers that come or go are noticed in between."""

_NOTIFICATIONS_HWM: Final = 10_000
"""Notifications that may wait: 10 s at 1 kHz, 80 kB. The frames themselves are overwritten, and counted, long before."""

_RECONNECT_MS: Final = 100
_RECONNECT_MAX_MS: Final = 1000
_HEARTBEAT_MS: Final = 1000
"""A remote host that vanished is noticed after three of these."""


class Subscriptions:
    """One socket an address (a module), so that it is known whose a message is. Raises HostError for a bad address."""

    def __init__(self, addresses: Sequence[str], high_water_mark: int, kind: int = zmq.SUB) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._module_of: dict[zmq.Socket[bytes], int] = {}
        for module, address in enumerate(addresses):
            socket = self._context.socket(kind)
            socket.rcvhwm = high_water_mark
            socket.linger = 0
            socket.reconnect_ivl, socket.reconnect_ivl_max = _RECONNECT_MS, _RECONNECT_MAX_MS
            if address.startswith("tcp:"):
                socket.heartbeat_ivl, socket.heartbeat_timeout = _HEARTBEAT_MS, 3 * _HEARTBEAT_MS
            if kind == zmq.SUB:
                socket.subscribe(b"")
            try:
                socket.connect(address)
            except zmq.ZMQError as error:
                self._context.destroy(linger=0)
                raise HostError(
                    f"{address}: cannot subscribe there: {error.strerror}; give tcp://host:port or ipc://path"
                ) from None
            self._poller.register(socket, zmq.POLLIN)
            self._module_of[socket] = module

    @property
    def descriptors(self) -> list[int]:
        """ZMQ's own descriptors: edge-triggered, so all that is there must be read before they are waited for."""
        return [socket.FD for socket in self._module_of]

    def receive(self, timeout_s: float) -> Iterator[tuple[int, list[zmq.Frame]]]:
        """Yield (module, message) of what has come, waiting up to ``timeout_s`` for the first.

        One message of each module in turn, so that none seems ahead of the others, and at most _BATCH of each.
        """
        ready = [(self._module_of[socket], socket) for socket, _ in self._poller.poll(int(timeout_s * 1000))]
        for _ in range(_BATCH):
            for module, socket in tuple(ready):
                try:
                    yield module, socket.recv_multipart(zmq.DONTWAIT, copy=False)
                except zmq.Again:
                    ready.remove((module, socket))

    def receive_one(self, timeout_s: float) -> list[memoryview] | None:
        """Return one message, whoever sent it, waiting up to ``timeout_s``; None when there is none."""
        for socket, _ in self._poller.poll(int(timeout_s * 1000)):
            return [part.buffer for part in socket.recv_multipart(copy=False)]
        return None

    def close(self) -> None:
        """Close the sockets. Idempotent."""
        self._context.destroy(linger=0)


class LocalModule:
    """One module's pebble on this host: attached when it is there, again when its owner has made another.

    ``data_bytes``, if given, is what a frame must have; else it is taken from the pebble.
    """

    def __init__(self, segment: Path, data_bytes: int | None) -> None:
        self._segment = segment
        self._data_bytes = data_bytes
        self._reader: PebbleReader | None = None
        self.problem = ""
        """Why the pebble cannot be read; empty when it can."""

    def read(self, pulse_id: int, out: np.ndarray | None) -> FrameHead | None:
        """Copy the pixels of a pulse; None when they are not there (any more), or not of the expected size."""
        reader = self._attached()
        if reader is None or (out is not None and out.nbytes != reader.shape.data_bytes):
            return None
        return reader.read(pulse_id, out)

    def info(self) -> dict[str, Any] | None:
        """Return what the owner says of the frames; None when there is no pebble."""
        reader = self._attached()
        return reader.info if reader else None

    def close(self) -> None:
        """Unmap. Idempotent."""
        if self._reader:
            self._reader.close()
        self._reader = None

    def _attached(self) -> PebbleReader | None:
        # A killed owner's pebble stays mapped with its old frames: they must not be taken for those of its successor.
        if self._reader and not self._reader.replaced():
            return self._reader
        self.close()
        try:
            reader = PebbleReader(self._segment)
        except HostError as error:
            self.problem = str(error)
            return None
        if self._data_bytes not in (None, reader.shape.data_bytes):
            self.problem = (
                f"{self._segment}: found frames of {reader.shape.data_bytes:,} bytes, expected {self._data_bytes:,}; "
                "start the module and the stream with the same configuration"
            )
            reader.close()
            return None
        self.problem = ""
        self._reader = reader
        return reader


class RemoteModule:
    """One remote module's frames, kept in a pebble of our own: the newest stay until their slots are needed."""

    def __init__(self, shape: RecordShape, *, count: int, slot_bytes: int, pulse_id_step: int, expected: int) -> None:
        self._pebble = Pebble(None, shape, count=count, slot_bytes=slot_bytes, pulse_id_step=pulse_id_step)
        self.problem = ""
        self._expected = expected
        self._frames: OrderedDict[int, PebbleLease] = OrderedDict()  # by slot, oldest first

    def put(self, parts: Sequence[bytes | memoryview]) -> int:
        """Take in the message of one frame, and return its pulse_id. Raises WireError, PoolExhaustedError."""
        head, pixels = parse_module_message(parts, self._pebble.shape.data_bytes, self._expected)
        slot = self._pebble.layout.slot_of(head.pulse_id)
        if slot in self._frames:
            self._frames.pop(slot).close()
        elif len(self._frames) >= self._pebble.count - 1:
            self._frames.popitem(last=False)[1].close()
        loan = self._pebble.claim(head.pulse_id)
        np.copyto(loan.data, pixels)
        self._frames[slot] = loan.freeze(head)
        return head.pulse_id

    def read(self, pulse_id: int, out: np.ndarray | None) -> FrameHead | None:
        """Copy the pixels of a pulse; None when a newer frame has taken its slot."""
        lease = self._frames.get(self._pebble.layout.slot_of(pulse_id))
        if lease is None or lease.pulse_id != pulse_id:
            return None
        if out is not None:
            np.copyto(out, np.frombuffer(lease.data, np.uint8))
        return lease.head

    def close(self) -> None:
        """Free the memory. Idempotent."""
        while self._frames:
            self._frames.popitem()[1].close()
        self._pebble.close()


class Modules(ABC):
    """All modules of a detector: ``readers`` are one for each, in the order of the image. For one thread.

    Raises HostError when an address cannot be used.
    """

    def __init__(
        self, readers: Sequence[LocalModule | RemoteModule], addresses: Sequence[str], high_water_mark: int
    ) -> None:
        self.readers = tuple(readers)
        self.malformed = 0
        """Messages that were no notification or no frame."""
        self.exhausted = 0
        """Frames that found no slot."""
        try:
            self._subscriptions = Subscriptions(addresses, high_water_mark)
        except HostError:
            self._close_readers()
            raise

    @property
    def descriptors(self) -> list[int]:
        """Descriptors that become readable when something comes after a ``poll`` that returned nothing."""
        return self._subscriptions.descriptors

    def poll(self, timeout_s: float = 0.0) -> list[tuple[int, int]]:
        """Return (module, pulse_id) of what has come, waiting up to ``timeout_s`` for the first."""
        found: list[tuple[int, int]] = []
        for module, parts in self._subscriptions.receive(timeout_s):
            try:
                found.append((module, self._take(module, [part.buffer for part in parts])))
            except WireError:
                self.malformed += 1
            except PoolExhaustedError:
                self.exhausted += 1
        return found

    @abstractmethod
    def info(self) -> dict[str, Any] | None:
        """Return what is known of the frames (``dtype``, ``shape``); None while nothing is."""

    @abstractmethod
    def _take(self, module: int, parts: Sequence[memoryview]) -> int:
        """Return the pulse_id of a message. Raises WireError, PoolExhaustedError."""

    def close(self) -> None:
        """Free all sockets and memory. Idempotent."""
        self._subscriptions.close()
        self._close_readers()

    def _close_readers(self) -> None:
        for reader in self.readers:
            reader.close()


class LocalModules(Modules):
    """The modules on this host: ``notify`` are their notification addresses, ``segments`` their pebbles."""

    def __init__(self, notify: Sequence[str], segments: Sequence[Path], data_bytes: int | None) -> None:
        self.local = [LocalModule(segment, data_bytes) for segment in segments]
        super().__init__(self.local, notify, _NOTIFICATIONS_HWM)

    def info(self) -> dict[str, Any] | None:
        """Return what the first module's pebble says of its frames; None when there is none."""
        return self.local[0].info()

    def _take(self, module: int, parts: Sequence[memoryview]) -> int:  # noqa: ARG002
        if len(parts) != 1 or len(parts[0]) != NOTIFICATION.size:
            raise WireError(f"notification: found {len(parts)} parts, expected 1 of {NOTIFICATION.size} bytes")
        return NOTIFICATION.unpack(parts[0])[0]


class RemoteModules(Modules):
    """The modules' streams at ``addresses``; every frame has ``shape`` and ``expected`` packets, ``info`` says of what.

    Raises HostError when an address cannot be used or there is too little memory.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        shape: RecordShape,
        *,
        count: int,
        slot_bytes: int,
        pulse_id_step: int,
        expected: int,
        high_water_mark: int,
        info: dict[str, Any],
    ) -> None:
        self._info = info
        self._remote = [
            RemoteModule(shape, count=count, slot_bytes=slot_bytes, pulse_id_step=pulse_id_step, expected=expected)
            for _ in addresses
        ]
        super().__init__(self._remote, addresses, high_water_mark)

    def info(self) -> dict[str, Any]:
        """Return what the configuration says of the frames."""
        return self._info

    def _take(self, module: int, parts: Sequence[memoryview]) -> int:
        return self._remote[module].put(parts)
