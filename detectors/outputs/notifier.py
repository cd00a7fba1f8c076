"""Publishes which pulse was finished last: eight bytes, little-endian, for the processes that read the pebble."""

import struct
from typing import Final

from detectors.outputs.publisher import Publisher

_PULSE: Final = struct.Struct("<Q")
_QUEUE: Final = 10_000
"""Pulse ids kept for a slow listener; it sees those that it missed as a gap."""


class Notifier:
    """A stream of pulse ids. For one thread. Raises HostError when the address cannot be bound."""

    def __init__(self, address: str) -> None:
        self._publisher = Publisher(address, _QUEUE, linger_ms=0)
        self.address = self._publisher.address
        self.look = self._publisher.look
        self.close = self._publisher.close

    def send(self, pulse_id: int) -> None:
        """Publish a finished pulse, if anyone subscribes."""
        if self._publisher.consumers:
            self._publisher.begin(_PULSE.pack(pulse_id), 0)
