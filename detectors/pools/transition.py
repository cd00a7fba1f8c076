"""The transition pool: PvMonitor's staging slots, one for each pebble slot, as large as the payload of the PV."""

from detectors.pools.buffer_pool import BufferPool
from detectors.pools.sentinel import TRANSITION_SENTINEL


class TransitionPool(BufferPool):
    """``count`` buffers of ``payload_bytes``. Neither is ever set by hand: see ``detectors.pools.sizing``."""

    def __init__(self, count: int, payload_bytes: int, *, checked: bool = False) -> None:
        super().__init__(count, payload_bytes, name="transition", checked=checked, sentinel=TRANSITION_SENTINEL)
