"""Equal buffers in shared memory, that other processes of this account read."""

from pathlib import Path

from detectors.pools.buffer_pool import PooledBuffer
from detectors.pools.ledger import Ledger
from detectors.pools.lender import Lender
from detectors.pools.region import Region, round_to_page


class SharedSlots(Lender[PooledBuffer]):
    """``count`` page-aligned buffers of ``capacity`` bytes in the segment ``path``. Thread-safe.

    Another process maps the segment (``Region.attach``) and finds slot n ``n * step`` bytes from its start. A segment that is there
    already is replaced. Raises HostError when there is too little memory.
    """

    def __init__(self, path: Path, count: int, capacity: int, *, name: str = "images") -> None:
        self.capacity = capacity
        self.step = round_to_page(capacity)
        """Bytes from one slot to the next."""
        self._region = Region.shared(path, count * self.step)
        view = self._region.view
        self._slots = [view[start : start + capacity] for start in range(0, count * self.step, self.step)]
        self._ledger = Ledger(name, count, size_bytes=capacity)

    def _lend(self, slot: int) -> PooledBuffer:
        return PooledBuffer(self._ledger, slot, self._slots[slot])

    def close(self) -> None:
        """Remove the segment; who has mapped it keeps the memory. Idempotent."""
        if not self._region.closed:
            self._region.unlink()
            self._slots = []
            self._region.close()
