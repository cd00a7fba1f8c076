"""Channel Access through caproto: a waveform as an image, a record as a scalar.

CA has no shape, no uniqueId and no unsigned 16 or 32 bit integers (they travel as wider ones). Its time counts from 1990.
The server's EPICS_CA_MAX_ARRAY_BYTES limits the size of arrays; caproto has no limit.
"""

import logging
import threading
from collections import deque
from dataclasses import replace
from typing import Any, Final

import numpy as np

from detectors.errors import WireError
from detectors.sources.delivery import Delivery
from detectors.sources.pvspec import STRING_DTYPE
from detectors.wire.ntndarray import ArrayHead, ca_timestamp_ns, plain_value

log = logging.getLogger(__name__)

_QUEUE: Final = 8
"""Updates that may wait; further ones are dropped and counted."""

_ENUM: Final = 3  # DBF_ENUM; DBR_TIME_ENUM and the like are 7 apart
_TYPES: Final = 7


class _Inbox:
    """Messages of caproto's threads for ours: changes of the connection's state, and updates while fewer than _QUEUE wait."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, Any]] = deque()
        self._dropped = 0

    def put(self, kind: str, what: Any) -> None:
        """Take a "state" or an "update"; an update is only counted when too many wait."""
        with self._lock:
            if kind == "update" and len(self._waiting) >= _QUEUE:
                self._dropped += 1
            else:
                self._waiting.append((kind, what))
        self._wake.set()

    def take(self) -> tuple[str, Any] | None:
        """Return the oldest message, then the number "dropped"; None when there is neither."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            dropped, self._dropped = self._dropped, 0
        return ("dropped", dropped) if dropped else None


class CaClient:
    """Serves one PV on the caller's thread."""

    name = "ca"

    _last: ArrayHead | None = None

    def serve(self, delivery: Delivery) -> None:
        """Deliver updates until ``delivery.stop`` is set."""
        from caproto import ChannelType
        from caproto.threading.client import Context, SharedBroadcaster

        inbox = _Inbox(delivery.wake)

        # caproto holds callbacks weakly: these two local functions live as long as this call
        def on_state(_pv: Any, state: str) -> None:
            inbox.put("state", state)

        def on_update(subscription: Any, response: Any) -> None:
            channel = subscription.pv.channel
            inbox.put("update", (response, channel is None or channel.native_data_count == 1))

        broadcaster = SharedBroadcaster()
        context = Context(broadcaster=broadcaster)
        try:
            (pv,) = context.get_pvs(delivery.spec.name, connection_state_callback=on_state)
            as_text = delivery.spec.dtype == STRING_DTYPE  # the server then gives an enum's choice
            subscription = pv.subscribe(data_type=ChannelType.TIME_STRING if as_text else "time", data_count=0)
            subscription.add_callback(on_update)
            delivery.serve(inbox.take, lambda message: self._on_message(delivery, *message))
        finally:
            context.disconnect()
            broadcaster.disconnect()

    def _on_message(self, delivery: Delivery, kind: str, what: Any) -> None:
        if kind == "state":
            if what != "connected":
                delivery.disconnected(f"{delivery.spec.name}: {what}")
        elif kind == "dropped":
            for _ in range(what):
                if self._last is not None:
                    delivery.sink.dropped(self._last)
        else:
            delivery.update(lambda: self._read(delivery.spec.name, *what))

    def _read(
        self,
        name: str,
        response: Any,
        scalar: bool,  # noqa: FBT001
    ) -> tuple[np.ndarray, ArrayHead] | tuple[None, None]:
        """Return the value's bytes and its head; None twice when it is empty. Raises WireError."""
        value: Any = response.data
        if len(value) == 0:
            return None, None
        if isinstance(value[0], bytes):
            if not scalar:
                raise WireError(f"{name}: found an array of texts, expected numbers")
            value = value[0].decode("utf-8", "replace")
        else:
            value = np.asarray(value, np.int32 if response.data_type % _TYPES == _ENUM else None)
            value = value.reshape(()) if scalar and value.size == 1 else value
        data, head = plain_value(value, {}, name)
        if data is None or head is None:
            return None, None
        stamp = response.metadata.stamp
        timestamp_ns = ca_timestamp_ns(int(stamp.secondsSinceEpoch), int(stamp.nanoSeconds))
        self._last = replace(head, timestamp_ns=timestamp_ns)
        return data, self._last
