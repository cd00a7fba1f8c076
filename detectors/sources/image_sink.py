"""The sink that sources of images deliver to.

A source owns the connection to one PV, and one thread that serves it. It reports everything to an ``ImageSink`` on that
thread, in the order in which it happened. For each complete update of the PV it calls exactly one of ``update()``,
``dropped()``, ``bad()`` and ``empty()``. An update that has a new uniqueId, or a new time where there is none, but no array
of its own has the same array as the one before. Every slot is followed by ``update()`` or ``abandon()``, which counts no update:
the image is then reported in another way, or the connection was lost midway and the image shows as a gap in uniqueId.

The size of a PV's arrays is known only with the first of them, since the type has no dimensions. So the source reads the
first array, calls ``connected()`` with its description, and asks for slots only after that returned. The sink may take
seconds in there to allocate memory; the source keeps just the one array meanwhile.
"""

from dataclasses import dataclass
from typing import Protocol

from detectors.wire.ntndarray import ArrayHead


@dataclass(frozen=True, slots=True)
class Description:
    """An array as it lies in a slot: decompressed, C order."""

    payload_bytes: int
    shape: tuple[int, ...]
    """Slowest dimension first; () for a scalar."""
    dtype: str
    """Name of the numpy dtype, native byte order: "uint16"."""
    codec: str
    """On the wire: "" uncompressed, or "blosc", "lz4", "bslz4", "jpeg", "zlib"."""


class ImageSink(Protocol):
    """The receiver of a PV's images; called on the source's one thread, never after ``ImageSource.close()`` returned."""

    def connected(self, description: Description) -> None:
        """Prepare for arrays like this one. Called again when dtype, shape or bytes change; no slot is outstanding then.

        It may raise a PebbleDaqError to refuse what was not specified, or has no room: the source then drops that connection's arrays (``dropped()``) until
        the description changes again.
        """
        ...

    def disconnected(self, reason: str) -> None:
        """Note that the PV disconnected, was not found, or is stuck; the source retries by itself."""
        ...

    def slot(self, nbytes: int) -> memoryview | None:
        """Return ``nbytes`` of writable memory for the next array, or None when there is no room now."""
        ...

    def update(self, update: ArrayHead) -> None:
        """Take the slot just returned: it is filled."""
        ...

    def last(self) -> memoryview | None:
        """Return the bytes of the slot that was filled last; None when they are gone. The slot at hand may be the same."""
        ...

    def abandon(self) -> None:
        """Take back the slot just returned: it will not be filled."""
        ...

    def dropped(self, update: ArrayHead) -> None:
        """Count an array for which ``slot()`` returned None; under the policy "hold" it is called again until there is room."""
        ...

    def bad(self, reason: str) -> None:
        """Count an array that cannot be decoded."""
        ...

    def empty(self) -> None:
        """Count an update that holds no array, or nothing new."""
        ...
