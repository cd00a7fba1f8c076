"""The running counts of a PvMonitor: several threads count, each under the one lock."""

import threading
from collections.abc import Iterable
from dataclasses import fields

from detectors.stats import UpdateStats


class Tally:
    """Mutable form of UpdateStats; the names are its own.

    Whatever must change together is counted in one ``add``, or with ``lock`` held around several: so that the balance
    holds in every snapshot, not only at rest.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._counts = {f.name: 0 for f in fields(UpdateStats)}

    def add(self, **counts: int) -> None:
        """Add to counters; a negative number moves out of a gauge (``held``, ``l1_pending``).

        Raises KeyError for a name that UpdateStats does not have.
        """
        with self.lock:
            for name, count in counts.items():
                self._counts[name] += count

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def values(self) -> Iterable[int]:
        """Return all counts in the order of UpdateStats; for one that holds ``lock``."""
        return self._counts.values()

    def freeze(self) -> UpdateStats:
        """Return a snapshot."""
        with self.lock:
            return UpdateStats(**self._counts)
