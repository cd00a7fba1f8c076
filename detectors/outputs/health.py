"""How the sink of an output fares: its errors counted, the last of them shown, and a pause when it keeps failing."""

import errno
import logging
from typing import Final

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""When a sink keeps failing, frames are dropped for this long before it is tried again, s: a dead disk is not asked at 1 kHz."""

FAILURES_BEFORE_PAUSE: Final = 3
"""Failures in a row after which a sink is left alone for RETRY_S."""


class Health:
    """For the sink's thread; ``state``, ``message`` and ``errors`` may be read by any. Times are of the monotonic clock."""

    def __init__(self, output: str) -> None:
        self.errors = 0
        self.message = ""
        self.state = ""
        """Failing, Full (no space), Failed (an error that no sink should raise); empty while it works."""
        self.broken = False
        """Whether the sink must start again before it is used again."""
        self._output = output
        self._in_a_row = 0
        self._retry_at = 0.0

    def fail(self, error: Exception, now: float) -> None:
        """Count an error of the sink."""
        expected = isinstance(error, OSError)
        full = expected and error.errno == errno.ENOSPC
        message = f"{type(error).__name__}: {error}"
        if expected:
            message = f"{error.filename}: " if error.filename else ""
            message += error.strerror or str(error)
        known, self.message = message == self.message, message
        self.broken = not expected
        self.state = "Failed" if self.broken else "Full" if full else "Failing"
        self._in_a_row += 1
        if self.broken or full or self._in_a_row >= FAILURES_BEFORE_PAUSE:
            self._retry_at = now + RETRY_S
        self.errors += 1
        if not known:
            log.error(
                "%s output: %s; frames are dropped and counted until it works again",
                self._output,
                message,
                exc_info=None if expected else error,
            )

    def is_paused(self, now: float) -> bool:
        """Return whether the sink is left alone."""
        return now < self._retry_at

    def recover(self) -> None:
        """Try the sink at once, with a clean record: it works again, or may."""
        self.state = ""
        self._in_a_row = 0
        self._retry_at = 0.0
