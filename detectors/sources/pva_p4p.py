"""PVA through p4p: the reference client, and the one for everything but large arrays.

p4p (pvxs) allocates each array; the pixels are copied into the slot once. Its queue is always drained at once, so
losses happen where they are counted, or show as gaps in uniqueId.
"""

import logging
from typing import Any, Final, cast

import numpy as np

from detectors.errors import WireError
from detectors.pools.heap import ARENA_MAX, MMAP_MAX, TOP_PAD, TRIM_THRESHOLD, tune_heap
from detectors.sources.delivery import Delivery
from detectors.sources.pvspec import STRING_DTYPE, PvSpec
from detectors.wire.ntndarray import HEAD_FIELDS, ArrayHead, array_head, plain_value

log = logging.getLogger(__name__)

# ``pipeline`` stays off: with pvxs servers the tail of a burst sticks, with pvDatabase servers images repeat.
_REQUEST: Final = "record[queueSize=8]field()"
"""For all fields; p4p queues 8 updates while one is delivered."""

_HEAP: Final = {MMAP_MAX: 0, ARENA_MAX: 1, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 400 << 20}
"""Arrays come from one heap that is never given back."""


class P4pClient:
    """Serves one PV on the caller's thread.

    Create it early, on the main thread: with ``tune`` it tunes the allocator, which the heaps of later threads follow.
    """

    name = "p4p"

    def __init__(self, *, tune: bool = True) -> None:
        if tune and not tune_heap(_HEAP):
            log.warning("this host has no mallopt: p4p will be slower with large images")

    def serve(self, delivery: Delivery) -> None:
        """Deliver updates until ``delivery.stop`` is set."""
        from p4p.client.raw import Context

        # nt=False: an unwrapping Context misbehaves once it has seen a value of unknown type
        with Context("pva", nt=False, useenv=True) as context:
            subscription = context.monitor(delivery.spec.pv, delivery.wake.set, request=_REQUEST)
            try:
                delivery.serve(subscription.pop, lambda update: _deliver(delivery, update))
            finally:
                subscription.close()


def _deliver(delivery: Delivery, update: Any) -> None:
    if isinstance(update, Exception):
        delivery.disconnected(f"{delivery.spec.pv}: {update or type(update).__name__}")
    else:
        delivery.update(lambda: _read(update, delivery))


def _read(update: Any, delivery: Delivery) -> tuple[np.ndarray, ArrayHead] | tuple[None, None]:
    """Return the array's bytes and its head; None twice when the update has none, or nothing new. Raises WireError."""
    data, head = _whole(update, delivery.spec)
    # p4p fills in the last value of what is not marked
    if data is None or head is None or not (_marked(update, delivery.spec.field) or delivery.is_new(head)):
        return None, None
    return data, head


def _whole(update: Any, spec: PvSpec) -> tuple[np.ndarray, ArrayHead] | tuple[None, None]:
    path = spec.field
    value = _field(update, path)
    if isinstance(value, np.ndarray) and "dimension" in update and path == "value":
        meta = {name: _plain(update[name]) for name in HEAD_FIELDS if name in update}
        array = cast("np.ndarray", value)
        array = array.view(np.uint8) if array.dtype == np.bool_ else array
        return array.reshape(-1).view(np.uint8), array_head(meta, array.dtype, array.size)
    meta = {"timeStamp": _plain(update["timeStamp"])} if "timeStamp" in update else {}
    return plain_value(_typed(update, path, _plain(value)), meta, spec.name, as_text=spec.dtype == STRING_DTYPE)


def _field(update: Any, path: str) -> Any:
    from p4p import Value

    value = update
    for name in path.split("."):
        if not isinstance(value, Value) or name not in value:
            raise WireError(f"field: found no {path!r} in {update.getID()}, expected one of {', '.join(update.keys())}")
        value = value[name]
    return value


def _typed(update: Any, path: str, value: Any) -> Any:
    """Return a number as the numpy scalar of its PVA type, which Python's int and float forget."""
    if not isinstance(value, (bool, int, float)):
        return value
    owner, _, name = path.rpartition(".")
    code = (_field(update, owner) if owner else update).type()[name]
    return np.dtype(code).type(value) if isinstance(code, str) and len(code) == 1 and code != "v" else value


def _marked(update: Any, path: str) -> bool:
    """Whether the update carries the field, a part of it, or a structure around it."""
    return any(f"{name}.".startswith(f"{path}.") or path.startswith(f"{name}.") for name in update.changedSet())


def _plain(value: Any) -> Any:
    """Return a p4p value as plain Python: dicts for structures, lists, numbers; arrays stay as they are."""
    from p4p import Value

    if isinstance(value, Value):
        return {name: _plain(value[name]) for name in value}
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[Any]", value)]
    return value
