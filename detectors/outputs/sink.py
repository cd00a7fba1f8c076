"""What an output stage asks of the place where its frames go."""

from collections.abc import Sequence
from typing import Protocol

from detectors.pools.pebble import PebbleLease
from detectors.stats import SinkFigures


class Sink(Protocol):
    """A place where frames go. Used by the stage's one thread, but for ``wanted`` and ``figures``."""

    name: str
    busy_state: str
    """What the state is called while frames pass: ``Writing``, ``Publishing``."""
    most: int
    """Frames that ``write`` can make use of at a time."""
    figures: SinkFigures
    """Kept up to date by the calls below: a snapshot reads them, and must not wait for a file system."""
    wanted: bool
    """Whether there is any use for frames now; while False none is queued. Read by the producer for every frame."""

    def write(self, leases: Sequence[PebbleLease]) -> int:
        """Put the first frame away, and those after it that can go along; return how many: 0 when the first had no taker.

        Raises BlockingIOError when only the first frame is lost, any other OSError when further ones would be, too.
        """
        ...

    def idle(self) -> None:
        """Flush what is held back and bring the figures up to date: called when no frame comes, and now and then while they do.

        Raises OSError for what was written before, which no longer concerns the frames that are queued.
        """
        ...

    def reset(self) -> None:
        """Start again after an error that is none of those above: what is open may be in any state."""
        ...

    def close(self) -> None:
        """Flush and close everything."""
        ...
