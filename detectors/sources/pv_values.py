"""The newest values of PVs, by Channel Access through caproto."""

from collections.abc import Sequence
from typing import Any


class PvValues:
    """Subscribes to PVs until ``close``. ``values`` has those that are connected by name; any thread may read it.

    A number is a number, an enum its index, a text or an enum asked for as ``text`` a str; of an array the first element.
    """

    def __init__(self, names: Sequence[str], text: Sequence[str]) -> None:
        from caproto import ChannelType
        from caproto.threading.client import Context, SharedBroadcaster

        self.values: dict[str, Any] = {}
        self._broadcaster = SharedBroadcaster()
        self._context = Context(broadcaster=self._broadcaster)
        self._kept: list[Any] = []  # caproto holds callbacks weakly
        for pv in self._context.get_pvs(*names, connection_state_callback=self._on_state):
            kind = ChannelType.STRING if pv.name in text else "native"
            subscription = pv.subscribe(data_type=kind, data_count=0)
            subscription.add_callback(self._on_update)
            self._kept += [pv, subscription]

    def close(self) -> None:
        """Unsubscribe."""
        self._context.disconnect()
        self._broadcaster.disconnect()

    def _on_state(self, pv: Any, state: str) -> None:
        if state != "connected":
            self.values.pop(pv.name, None)

    def _on_update(self, subscription: Any, response: Any) -> None:
        data = response.data
        if len(data):
            value = data[0]
            self.values[subscription.pv.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
