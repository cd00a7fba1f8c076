"""The balance of a worker of captures over all of them."""

from dataclasses import dataclass, field

from detectors.outputs.hdf5.capture import Capture
from detectors.stats import OutputStats
from detectors.workers.capture_folder import FolderState


@dataclass(slots=True)
class CaptureTotals:
    """Counts the images of all captures: ``offered = written + dropped + disabled + queued``."""

    captures: int = 0
    """Captures begun."""
    dropped: int = 0
    """Images that found no memory, because the disk was too slow."""
    unwanted: int = 0
    """Images that belonged to no capture."""
    _before: OutputStats = field(default_factory=OutputStats)

    def begin(self, ended: Capture | None) -> None:
        """Begin another capture; ``ended`` is the one before."""
        self._before = self._settled(ended)
        self.captures += 1

    def stats(
        self, capture: Capture | None, offered: int, place: FolderState, state: tuple[str, str], *, on: bool
    ) -> OutputStats:
        """Return the balance, with the present or last capture."""
        settled = self._settled(capture)
        dropped = settled.dropped + self.dropped
        return OutputStats(
            name="hdf5",
            enabled=on,
            state=state[0],
            message=state[1],
            offered=offered,
            written=settled.written,
            dropped=dropped,
            disabled=self.unwanted,
            queued=offered - settled.written - dropped - self.unwanted,
            bytes=settled.bytes,
            errors=settled.errors,
            folder=str(place.folder),
            free_bytes=place.free_bytes,
        )

    def _settled(self, capture: Capture | None) -> OutputStats:
        if capture is None:
            return self._before
        return OutputStats(
            written=self._before.written + capture.written,
            dropped=self._before.dropped + capture.failed,
            bytes=self._before.bytes + capture.bytes,
            errors=self._before.errors + bool(capture.error),
        )
