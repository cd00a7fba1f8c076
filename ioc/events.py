"""The events of a server: what happened, for an operator who comes later, and the last warning of the log."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

MOST: Final = 100
"""Events that are kept."""

SEVERITIES: Final = ("None", "Minor", "Major", "Invalid")
"""Alarm severities by EPICS's numbers, as records name them."""

LOG_ALARM_S: Final = 60.0
"""The record of the last warning has an alarm for so long, s."""


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One event; ``source`` is a record without the prefix."""

    time_ns: int
    source: str
    severity: int
    text: str

    @property
    def line(self) -> str:
        """The event in one line, with the local time."""
        moment = datetime.fromtimestamp(self.time_ns / 1e9).astimezone().isoformat(" ", "milliseconds")
        return f"{moment} {SEVERITIES[self.severity]} {self.source}: {self.text}"


class EventLog:
    """The last events. ``clock()`` gives POSIX time in ns."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._kept: deque[LoggedEvent] = deque(maxlen=MOST)
        self._alarms: dict[str, int] = {}
        self.count = 0
        """All events so far."""

    @property
    def kept(self) -> tuple[LoggedEvent, ...]:
        """The last events, the newest first."""
        return tuple(reversed(self._kept))

    @property
    def last(self) -> LoggedEvent | None:
        """The newest event; None before the first."""
        return self._kept[-1] if self._kept else None

    def add(self, source: str, severity: int, text: str) -> None:
        """Note an event of now."""
        self._kept.append(LoggedEvent(self._clock(), source, severity, text))
        self.count += 1

    def has_changed(self, source: str, severity: int) -> bool:
        """Return whether ``alarm`` would note an event."""
        return severity != self._alarms.get(source, 0)

    def alarm(self, source: str, severity: int, text: str) -> None:
        """Note the severity that a record has now: an event when it begins, becomes another, or ends."""
        if not self.has_changed(source, severity):
            return
        self._alarms[source] = severity
        self.add(source, severity, text if severity else f"ended: {text}")


class LastWarning(logging.Handler):
    """Keeps the last line of the log that is a warning or worse. Make it, and add it to a logger."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._last = ("", 0, 0.0)

    @property
    def line(self) -> str:
        """The line, without its time."""
        return self._last[0]

    @property
    def severity(self) -> int:
        """MINOR for a warning, MAJOR for an error, 0 some time later."""
        _, severity, since_s = self._last
        return severity if self._clock() - since_s < LOG_ALARM_S else 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line; called from any thread."""
        severity = 2 if record.levelno >= logging.ERROR else 1
        text = record.getMessage().partition("\n")[0]
        self._last = (f"{record.levelname} {record.name}: {text}", severity, self._clock())
