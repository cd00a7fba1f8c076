"""Memory that a thread keeps from one image to the next."""

import threading

import numpy as np


class ThreadMemory(threading.local):
    """Bytes of each thread's own, as many as it ever took at once; they are freed when it ends.

    Allocated for each image and freed, they would go back to the kernel, which clears each page that it gives out again.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def take(self, size: int) -> np.ndarray:
        """Return uint8[size], in the same place as the last time, whose content is lost."""
        if self._bytes.size < size:
            self._bytes = np.empty(size, np.uint8)
        return self._bytes[:size]
