"""From an array and its head to the sink's slot: what every client does once it holds an array in memory."""

import logging
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from detectors.errors import PebbleDaqError, WireError
from detectors.sources.codecs import decode
from detectors.sources.image_sink import Description, ImageSink
from detectors.sources.pvspec import PvSpec
from detectors.wire.ntndarray import ArrayHead

log = logging.getLogger(__name__)

_HOLD_S = 0.001
"""Interval at which a held source asks again for a slot."""

_SILENCE_S = 3.0
"""Time after which a PV that never connected is reported."""


class HandOverError(Exception):
    """A client cannot serve its PV well; another takes over."""


class Delivery:
    """Delivers arrays to one sink by its rules: announces them, asks for slots, fills them.

    ``when_full`` is "drop" or "hold".
    """

    def __init__(
        self, sink: ImageSink, spec: PvSpec, when_full: str, stop: threading.Event, wake: threading.Event
    ) -> None:
        self.sink = sink
        self.spec = spec
        self._hold = when_full == "hold"
        self.stop = stop
        self.wake = wake
        """Ends the wait in ``serve()``."""
        self.idle: Callable[[], None] = lambda: None
        """Called while a held source waits for a slot: keeps its connection alive."""
        self._lost = False
        self.description: Description | None = None
        """Of the last array; None until the first one of a connection."""
        self.accepted = False
        """Whether the sink took the description."""
        self.last: ArrayHead | None = None
        """Of the last array of this connection, delivered or dropped; None when it could not be decoded."""
        self.in_slot = False
        """Whether the slot that was filled last has that array."""

    def serve(self, take: Callable[[], Any], deliver: Callable[[Any], None]) -> None:
        """Pass what ``take()`` returns to ``deliver`` until stopped; wait for ``wake`` when it is None."""
        heard = False
        while not self.stop.is_set():
            item = take()
            if item is not None:
                heard = True
                deliver(item)
            elif self.wake.wait(None if heard else _SILENCE_S):
                self.wake.clear()
            elif not heard:
                self.disconnected(f"{self.spec.name}: no server answered for it in {_SILENCE_S:g} s")

    def update(self, read: Callable[[], tuple[np.ndarray, ArrayHead] | tuple[None, None]]) -> None:
        """Deliver an update; ``read()`` returns its array as ``array()`` takes it, None twice when it has none."""
        try:
            data, head = read()
        except WireError as error:
            self.sink.bad(str(error))
            return
        if data is None or head is None:
            self.sink.empty()
        else:
            self.array(data, head)

    def array(self, data: np.ndarray, head: ArrayHead) -> None:
        """Deliver one array; ``data`` holds its bytes as on the wire (uint8, one dimension)."""
        if head.nbytes == 0:
            self.sink.empty()
            return
        self.last = head
        self.announce(head)
        slot = self.slot(head.nbytes)
        self.in_slot = False
        if slot is None:
            self.sink.dropped(head)
            return
        try:
            decode(head.codec, data, np.frombuffer(slot, np.uint8), head)
        except WireError as error:
            self.sink.abandon()
            self.sink.bad(str(error))
            self.last = None
            return
        self.filled(head)

    def again(self, head: ArrayHead) -> bool:
        """Deliver the last array once more, as ``head`` dates it. False, with nothing delivered, when it is gone."""
        self.announce(head)
        slot = self.slot(head.nbytes)
        if slot is None:
            self.sink.dropped(head)
            return True
        pixels = self.sink.last() if self.in_slot else None
        if pixels is None:
            self.sink.abandon()
            return False
        np.copyto(np.frombuffer(slot, np.uint8), np.frombuffer(pixels, np.uint8))
        self.filled(head)
        return True

    def filled(self, head: ArrayHead) -> None:
        """Deliver the slot at hand: it is filled."""
        self.in_slot = True
        self.sink.update(head)

    def is_new(self, head: ArrayHead) -> bool:
        """Whether an update is another image than the last one: by its uniqueId, or by its time where it has none."""
        last = self.last
        if last is None or head.unique_id is None:
            return last is None or head.timestamp_ns != last.timestamp_ns
        return head.unique_id != last.unique_id

    def announce(self, head: ArrayHead) -> None:
        """Announce an array that is not like the last one to the sink."""
        if self.is_like(head):
            return
        description = _description(head)
        self.description, self.accepted, self._lost = description, False, False
        try:
            self.sink.connected(description)
        except PebbleDaqError as error:
            log.error("%s: refused, its images are dropped: %s", self.spec.name, error)  # noqa: TRY400 - a user's error
        else:
            self.accepted = True

    def is_like(self, head: ArrayHead) -> bool:
        """Whether the last array announced was like this one."""
        found = self.description
        return found is not None and (found.payload_bytes, found.shape, found.dtype, found.codec) == (
            head.nbytes,
            head.shape,
            _name(head.dtype),
            head.codec,
        )

    def slot(self, nbytes: int) -> memoryview | None:
        """Return a slot, or None when there is none; a held source waits for it."""
        if not self.accepted:
            return None
        while (slot := self.sink.slot(nbytes)) is None and self._hold:
            if self.stop.wait(_HOLD_S):
                return None
            self.idle()
        return slot

    def disconnected(self, reason: str) -> None:
        """Report once that the PV is disconnected."""
        self.description, self.last, self.accepted, self.in_slot = None, None, False, False
        if not self._lost:
            self._lost = True
            self.sink.disconnected(reason)


def _description(head: ArrayHead) -> Description:
    return Description(head.nbytes, head.shape, _name(head.dtype), head.codec)


@lru_cache
def _name(dtype: np.dtype) -> str:
    return dtype.name  # numpy makes a new one each time
