"""The live module stream: ZMQ PUB of two parts, ModuleFrame and pixels. Live: may drop, counted.

Source of the format: sf-buffer.
"""

import errno
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from detectors.outputs.publisher import Publisher
from detectors.pools.heap import MMAP_THRESHOLD, TRIM_THRESHOLD, tune_heap
from detectors.pools.pebble import PebbleLease
from detectors.stats import SinkFigures

_LOOK_S: Final = 0.1
"""While frames are sent, new and departed subscribers are noticed this often, s."""

_HEAP: Final = {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 64 << 20}
"""ZMQ's copies of frames (up to 32 MiB each, the most that glibc allows) use the memory of earlier ones again."""


class ModulePublisher:
    """Sink that publishes every frame while there are subscribers. Raises HostError when the address cannot be bound."""

    name = "zmq"
    busy_state = "Publishing"
    most = 1

    def __init__(self, address: str, high_water_mark: int, curve_keys: Path | None = None) -> None:
        tune_heap(_HEAP)
        self._queue, self._keys = high_water_mark, curve_keys
        self.figures = SinkFigures()
        self._open(address)

    def _open(self, address: str) -> None:
        self._publisher = Publisher(address, self._queue, curve_keys=self._keys)
        self.address = self.figures.folder = self._publisher.address
        self.wanted = False
        self._look_at = 0.0

    def write(self, leases: Sequence[PebbleLease]) -> int:
        """Send the first frame and return 1; 0 when there is no subscriber.

        Raises BlockingIOError when a subscriber's queue is full: it loses the frame, the others get it.
        """
        if time.monotonic() >= self._look_at or self._publisher.look_again:
            self.idle()
        if not self.wanted:
            return 0
        lease = leases[0]
        # The copies are what frees the slot at once; ZMQ would copy into the kernel either way.
        if not self._publisher.send(lease.wire_head, lease.data):
            raise BlockingIOError(errno.ENOBUFS, "the queue of a subscriber is full: it is too slow")
        self.figures.bytes += lease.data.nbytes
        return 1

    def idle(self) -> None:
        """Count the subscribers."""
        self._look_at = time.monotonic() + _LOOK_S
        self._publisher.look()
        self.figures.subscribers = self._publisher.consumers
        self.wanted = self._publisher.consumers > 0

    def reset(self) -> None:
        """Bind a new socket in place of the old one."""
        self._publisher.close(linger_ms=0)
        self._open(self.address)

    def close(self) -> None:
        """Send what is queued, for half a second at most."""
        self._publisher.close()
