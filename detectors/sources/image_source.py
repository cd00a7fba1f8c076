"""What a source of images is, and what it tells the one who listens.

A source owns the connection to one PV, and one thread that serves it. Everything it learns it tells an ``ImageSink`` on
that thread, in the order in which it happened. Per update of the PV that came whole, it calls exactly one of these:

* ``update()``: it fills the slot that ``slot()`` just gave;
* ``dropped()``: ``slot()`` gave None (under the policy "hold" it is asked again until there is room);
* ``bad()``: it holds an array that cannot be decoded, or is not what was specified;
* ``empty()``: it holds no array.

Every slot given is followed by ``update()`` or ``abandon()``. ``abandon()`` counts no update: what the image in it
came to is told right after (``bad()``, or ``connected()`` when it is unlike the last one and needs another slot), or
the connection was lost midway and the image shows as a gap in uniqueId.

The payload of a PV is only known once its first array was seen: the type alone does not tell dimensions. So the source
looks at the first array, calls ``connected()`` with what it found, and asks for slots only after that returned. The
listener may take seconds in there to allocate its memory; the source keeps no more than the one array meanwhile. When
dtype, shape or bytes change, on the same connection or after another, ``connected()`` is called again first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Description:
    """An array as it lies in a slot: decompressed, C order."""

    payload_bytes: int
    shape: tuple[int, ...]
    """Slowest dimension first; () for a scalar."""
    dtype: str
    """Name of the numpy dtype, native byte order: "uint16"."""
    codec: str
    """How it travels: "" uncompressed, or "blosc", "lz4", "bslz4", "jpeg", "zlib"."""


@dataclass(frozen=True, slots=True)
class Update:
    """One update of a PV, without its pixels."""

    unique_id: int | None
    """As the source sent it (32 bits, wraps, may start afresh); None where the type has none."""
    timestamp_ns: int
    """ns since the POSIX epoch, of the PV's timeStamp; 0 when the source never set one."""
    data_timestamp_ns: int
    """The same of dataTimeStamp; 0 when there is none."""
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    """Bytes of the array, decompressed."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """NDAttributes by name."""
    alarm_severity: int = 0
    """0 none, 1 minor, 2 major, 3 invalid."""


class ImageSink(Protocol):
    """The listener. All methods are called on the source's one thread, never after ``ImageSource.close()`` returned."""

    def connected(self, description: Description) -> None:
        """Make ready for arrays like this one. Called again when they change; no slot is outstanding then.

        It may raise a PebbleDaqError to refuse: the source then drops that connection's arrays (``dropped()``) until
        the description changes again.
        """
        ...

    def disconnected(self, reason: str) -> None:
        """Note that the PV went away, or could not be found, or is stuck; the source goes on trying by itself."""
        ...

    def slot(self, nbytes: int) -> memoryview | None:
        """Return writable memory of ``nbytes`` for the next array, or None when there is no room at once."""
        ...

    def update(self, update: Update) -> None:
        """Take the slot that was just given: it is filled."""
        ...

    def abandon(self) -> None:
        """Take back the slot that was just given: it will not be filled."""
        ...

    def dropped(self, update: Update) -> None:
        """Count an array that came while ``slot()`` gave None."""
        ...

    def bad(self, reason: str) -> None:
        """Count an array that cannot be decoded."""
        ...

    def empty(self) -> None:
        """Count an update that holds no array."""
        ...


class ImageSource(Protocol):
    """One PV, by one client."""

    @property
    def name(self) -> str:
        """The client: "p4p", "direct" or "ca"."""
        ...

    def start(self, sink: ImageSink) -> None:
        """Start the source's thread; returns at once, connected or not."""
        ...

    def close(self) -> None:
        """Stop: when it returns, the thread has ended and the sink is not called any more. Idempotent."""
        ...
