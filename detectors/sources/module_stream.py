"""The modules' latest frames, on this host or on another.

Local: each module's pebble is mapped read-only, and 8-byte notifications name the pulses in it. Remote: the modules' two-part
streams fill pebbles of our own.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import numpy as np

from detectors.curve import CurveKeys
from detectors.errors import HostError, PoolExhaustedError, WireError
from detectors.frame import RecordShape
from detectors.pools.pebble import Pebble, PebbleLease
from detectors.pools.pebble_reader import FoundFrame, PebbleReader
from detectors.sources.subscriptions import Sender, Subscriptions
from detectors.wire.module_message import parse_module_message

T = TypeVar("T")

NOTIFICATION: Final = struct.Struct("<Q")
"""A worker's notification of a frame: its pulse_id."""

_NOTIFICATIONS_HWM: Final = 10_000
"""Notifications that may wait: 10 s at 1 kHz, 80 kB. The frames themselves are overwritten, and counted, long before."""


class LocalModule:
    """One module's pebble on this host: attached when it is there, again when its owner has made another.

    ``data_bytes``, if given, is what a frame must have; else it is taken from the pebble.
    """

    queue = _NOTIFICATIONS_HWM
    """Messages that may wait for it."""
    pixels_bytes = 0
    """Bytes of pixels in a message."""

    def __init__(self, segment: Path, data_bytes: int | None) -> None:
        self._segment = segment
        self._data_bytes = data_bytes
        self._reader: PebbleReader | None = None
        self.problem = ""
        """Why the pebble cannot be read; empty when it can."""

    @property
    def is_there(self) -> bool:
        """Whether there is a pebble that can be read."""
        return self.attached() is not None

    def attached(self) -> PebbleReader | None:
        """Return what reads the pebble, another one when its owner has made another; None, and ``problem``, when there is none."""
        # A killed owner's pebble stays mapped with its old frames: they are not those of its successor.
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

    def put(self, parts: Sequence[memoryview]) -> int:
        """Return the pulse_id in a notification. Raises WireError when the message is not one."""
        if len(parts) != 1 or parts[0].nbytes != NOTIFICATION.size:
            raise WireError(f"notification: found {len(parts)} parts, expected one of {NOTIFICATION.size} bytes")
        return NOTIFICATION.unpack(parts[0])[0]

    def find(self, pulse_id: int) -> FoundFrame | None:
        """Return the frame of a pulse where it lies, see ``PebbleReader.find``."""
        reader = self.attached()
        return reader.find(pulse_id) if reader else None

    def check(self, frame: FoundFrame) -> bool:
        """Return whether a frame is what it was when it was found. Not after another ``find`` of this module."""
        return self._reader is not None and self._reader.check(frame)

    def copy(self, pulse_id: int, take: Callable[[np.ndarray], T]) -> T | None:
        """Return what ``take`` copies of the data of a pulse, see ``PebbleReader.copy``; None when it is not there (any more)."""
        reader = self.attached()
        return reader.copy(pulse_id, take) if reader else None

    def newest(self) -> int | None:
        """Return the highest pulse that is there; None when there is none."""
        reader = self.attached()
        return reader.newest() if reader else None

    def finished(self) -> list[int]:
        """Return the pulses that are there and were not at the last call."""
        reader = self.attached()
        return reader.finished() if reader else []

    def info(self) -> dict[str, Any] | None:
        """Return the owner's description of the frames (``dtype``, ``shape``); None when there is no pebble."""
        reader = self.attached()
        return reader.info if reader else None

    def close(self) -> None:
        """Unmap. Idempotent."""
        if self._reader:
            self._reader.close()
        self._reader = None


class RemoteModule:
    """One remote module's frames, in a pebble of our own: the newest stay until their slots are needed.

    Every frame has ``shape`` and ``expected`` packets; at most ``queue`` wait to be taken. Raises HostError when there is too
    little memory.
    """

    def __init__(
        self, shape: RecordShape, count: int, slot_bytes: int, pulse_id_step: int, *, expected: int, queue: int
    ) -> None:
        self.pixels_bytes, self.queue = shape.data_bytes, queue
        self._pebble = Pebble(None, shape, count=count, slot_bytes=slot_bytes, pulse_id_step=pulse_id_step)
        self.problem = ""
        self._expected = expected
        self._frames: OrderedDict[int, PebbleLease] = OrderedDict()  # by slot, oldest first

    def put(self, parts: Sequence[memoryview]) -> int:
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

    def find(self, pulse_id: int) -> FoundFrame | None:
        """Return the frame of a pulse where it lies; None when a newer frame has taken its slot."""
        lease = self._frames.get(self._pebble.layout.slot_of(pulse_id))
        if lease is None or lease.pulse_id != pulse_id:
            return None
        return FoundFrame(lease.head, np.frombuffer(lease.data, np.uint8))

    def check(self, frame: FoundFrame) -> bool:  # noqa: ARG002
        """Return True: it is our own memory, in which nothing changes until the next message is taken in."""
        return True

    def close(self) -> None:
        """Free the memory. Idempotent."""
        while self._frames:
            self._frames.popitem()[1].close()
        self._pebble.close()


class MessageReader(Protocol):
    """Takes in the messages of one module, or of one part."""

    queue: int
    """Messages that may wait for it."""
    pixels_bytes: int
    """Bytes of pixels in a message."""
    problem: str
    """Why nothing comes; empty when it is not known."""

    def put(self, parts: Sequence[memoryview]) -> int | None:
        """Take in a message, and return its pulse_id; None when it is left out. Raises WireError, PoolExhaustedError."""
        ...

    def close(self) -> None:
        """Free the memory. Idempotent."""
        ...


class Modules(Subscriptions):
    """All modules of a detector, on this host and others: the messages of each address go to the reader of the same index.

    For one thread.

    Raises HostError when an address cannot be used; the readers are closed then.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        readers: Sequence[MessageReader],
        keys: CurveKeys | None = None,
    ) -> None:
        self.readers = readers
        """One per module, in the order of the image."""
        self.malformed = 0
        """Messages that were not a notification or a frame, or too large."""
        self.exhausted = 0
        """Frames for which there was no slot."""
        senders = [
            Sender(address, reader.queue, reader.pixels_bytes)
            for address, reader in zip(addresses, readers, strict=True)
        ]
        super().__init__(senders, keys=keys)

    def poll(self, timeout_s: float = 0.0) -> list[tuple[int, int]]:
        """Return (module, pulse_id) of the frames that have arrived, waiting up to ``timeout_s`` for the first."""
        found: list[tuple[int, int]] = []
        for module, parts in self.receive(timeout_s):
            try:
                pulse_id = self.readers[module].put(parts)
                if pulse_id is not None:
                    found.append((module, pulse_id))
            except WireError:
                self.malformed += 1
            except PoolExhaustedError:
                self.exhausted += 1
        return found

    def close(self) -> None:
        """Close all sockets and free the memory. Idempotent."""
        super().close()
        for reader in self.readers:
            reader.close()


class SeenModules:
    """All modules of a detector on this host, found by looking into their memory: they send nothing. For one thread.

    A frame that is overwritten between two looks is not seen.
    """

    descriptors: Sequence[int] = ()
    malformed = exhausted = 0

    def __init__(self, readers: Sequence[LocalModule]) -> None:
        self.readers = readers
        """One per module, in the order of the image."""

    def finished(self) -> list[list[int]]:
        """Return the pulses of each module that are there and were not at the last look."""
        return [reader.finished() for reader in self.readers]

    def poll(self, timeout_s: float = 0.0) -> list[tuple[int, int]]:  # noqa: ARG002
        """Return (module, pulse_id) of these frames, in the order of the pulses. It does not wait."""
        found = sorted((pulse, module) for module, pulses in enumerate(self.finished()) for pulse in pulses)
        return [(module, pulse) for pulse, module in found]

    def close(self) -> None:
        """Unmap the memory. Idempotent."""
        for reader in self.readers:
            reader.close()
