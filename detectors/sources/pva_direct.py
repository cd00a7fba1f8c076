"""PVA images by our own client (``detectors.pva``): an array that is like the last one is received straight into its slot.

For channels whose first field is an array of numbers, or NTNDArray's union of such. Anything else raises HandOverError,
and p4p serves it.
"""

from functools import lru_cache

import numpy as np

from detectors.errors import WireError
from detectors.pva import ArrayBegins, Introspected, PvaError, Subscription, Timeouts, Updated
from detectors.sources.delivery import Delivery, HandOverError
from detectors.sources.pvspec import PvSpec
from detectors.wire.ntndarray import ArrayHead, ArrayHeads, plain_head


class DirectClient:
    """Serves one PV on the caller's thread: a Subscriber that places arrays in the sink's slots.

    A channel whose first array is below ``least_bytes`` is handed over.
    """

    name = "direct"

    def __init__(self, *, least_bytes: int = 0, timeouts: Timeouts | None = None) -> None:
        self._least_bytes = least_bytes
        self._timeouts = timeouts
        self._delivery: Delivery
        self._spec: PvSpec
        self._is_image = False
        self._heads = ArrayHeads()
        self._slot: memoryview | None = None
        self._scratch: np.ndarray | None = None
        """Holds an array that could not be received into a slot; None when the array was skipped."""
        self._array: ArrayBegins | None = None
        """The last array of this connection as it came; None when it was empty."""
        self._spare: np.ndarray | None = None
        """Memory of the last compressed array, to be used again."""

    def serve(self, delivery: Delivery) -> None:
        """Deliver updates until ``delivery.stop`` is set.

        Raises HandOverError, with nothing delivered of the present connection, when p4p is to serve the PV.
        """
        self._delivery, self._spec = delivery, delivery.spec
        subscription = Subscription(delivery.spec.pv, self, self._timeouts)
        delivery.idle = subscription.keep_alive
        subscription.run(delivery.stop)
        self._abandon()

    def introspected(self, event: Introspected) -> None:
        """Check that the first field is the array that the specification asks for. Raises HandOverError."""
        names = event.desc.names
        if not event.streamed or names[0] != self._spec.field:
            raise HandOverError(
                f"{self._spec.name}: its field {self._spec.field!r} is not an array at the front of {event.desc.id or 'it'}"
            )
        self._is_image = "dimension" in names

    def memory(self, array: ArrayBegins) -> memoryview | None:
        """Return a slot for an array like the last one, else scratch memory: the fields behind it decide what it is."""
        last = self._delivery.description
        self._scratch, self._delivery.in_slot = None, False
        if (
            last is not None
            and not last.codec
            and last.payload_bytes == array.nbytes
            and np.dtype(last.dtype) == _memory_dtype(array.dtype)
        ):
            self._slot = self._delivery.slot(array.nbytes)
            return self._slot
        if self._spare is None or self._spare.nbytes < array.nbytes:
            self._spare = np.empty(array.nbytes, np.uint8)
        self._scratch = self._spare[: array.nbytes]
        return self._scratch.data

    def updated(self, update: Updated) -> None:
        """Deliver the update. Raises HandOverError when the first array is too small for this client."""
        array = update.array or (None if update.marked else self._array)
        self._array = array
        if array is None:
            self._delivery.sink.empty()
            return
        try:
            head = self._head(update, array)
        except WireError as error:
            self._abandon()
            self._delivery.sink.bad(str(error))
            self._delivery.last = None
            return
        if not update.marked:
            self._repeat(head)
            return
        if self._delivery.description is None and head.nbytes < self._least_bytes:
            raise HandOverError(f"{self._spec.name}: its arrays of {head.nbytes} bytes are small")
        self._delivery.last = head
        if self._slot is not None:
            self._finish_slot(self._slot, array, head)
        elif self._scratch is not None:
            _to_native(self._scratch, array.dtype)
            self._delivery.array(self._scratch, head)
            if not head.codec:
                self._scratch = self._spare = None  # seldom needed again, and as large as a slot
        else:
            self._delivery.announce(head)
            self._delivery.sink.dropped(head)

    def disconnected(self, reason: str) -> None:
        """Return the slot that will not be filled, and report the loss."""
        self._abandon()
        self._scratch = self._spare = self._array = None
        self._delivery.disconnected(reason)

    def _repeat(self, head: ArrayHead) -> None:
        """Deliver an update whose array is the last one. Raises PvaError when it is gone: a new connection brings it again."""
        if self._delivery.last is None or not self._delivery.is_new(head):
            self._delivery.sink.empty()
        elif not self._delivery.again(head):
            raise PvaError("the pixels did not change and the last ones were not kept; connecting again for them")
        else:
            self._delivery.last = head

    def _abandon(self) -> None:
        """Return the slot that will not be filled, if there is one."""
        if self._slot is not None:
            self._slot = None
            self._delivery.sink.abandon()

    def _finish_slot(self, slot: memoryview, array: ArrayBegins, head: ArrayHead) -> None:
        """Deliver the slot; when the fields behind the pixels describe another array, announce that first."""
        pixels = np.frombuffer(slot, np.uint8)
        _to_native(pixels, array.dtype)
        if self._delivery.is_like(head):
            self._slot = None
            self._delivery.filled(head)
            return
        copy = pixels.copy()
        self._abandon()
        self._delivery.array(copy, head)

    def _head(self, update: Updated, array: ArrayBegins) -> ArrayHead:
        dtype = _memory_dtype(array.dtype)
        if not self._is_image:
            return plain_head(update.fields, dtype, (array.count,))
        return self._heads.read(update.fields, dtype, array.count)


@lru_cache
def _memory_dtype(dtype: np.dtype) -> np.dtype:
    """Return the dtype in memory: native, and bytes for booleans."""
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")


def _to_native(data: np.ndarray, dtype: np.dtype) -> None:
    """Bring an array of ``dtype`` into native byte order, in place."""
    if not dtype.isnative:
        data.view(dtype).byteswap(inplace=True)
