"""The health of a server: the worst alarm of all its records, named in words that stand still, and events of what changes."""

from collections.abc import Iterable, Sequence
from typing import Final

from ioc.bindings import RECENT
from ioc.events import SEVERITIES, EventLog
from ioc.hosts import HOST
from ioc.records import Reading
from ioc.status import OWNER as IOC

_INVALID: Final = 3


class HealthWatch:
    """Watches readings: their states as they change, their alarms at every ``look``."""

    def __init__(self, events: EventLog, prefix: str) -> None:
        self._events = events
        self._prefix = prefix
        self._named: tuple[Reading, int, str] | None = None
        """The record that is named, with its severity and, of a state, its text."""
        self._text = ""
        self._noted: dict[str, Reading] = {}
        """Readings whose alarm is an event that has not ended, by name."""

    def state_changed(self, reading: Reading, before: str) -> None:
        """Note a state: of a worker or a detector each one, of its parts those that alarm."""
        severity = reading.state_severity
        if reading.binding.field in ("state", "detector_state"):
            self._events.add(self._short(reading), severity, f"{before} -> {reading.text}")
        elif not reading.binding.field.endswith("run_state"):
            self._events.alarm(
                self._short(reading), severity, reading.text if severity else f"{before} -> {reading.text}"
            )

    def look(self, readings: Sequence[Reading]) -> tuple[str, str]:
        """Return the worst severity of all readings, and the record that has it, with its value and the reason.

        Of equal ones a state comes first, and that of a host before those of its workers: it explains the others. The text stays, and with it the value that it began with, while the
        record is in that alarm and none is worse.
        """
        alarmed = [reading for reading in readings if reading.severity and reading.binding.owner != IOC]
        ended = [reading for reading in self._noted.values() if not reading.severity]
        found: Reading | None = None
        worst = (0, 0)
        for reading in (*ended, *alarmed):
            severity = reading.severity
            # INVALID: only the last known value, which says nothing new.
            if not reading.is_state and severity < _INVALID:
                self._note(reading, severity)
            rank = (severity, _explains(reading))
            if rank[0] and (rank > worst or (rank == worst and self._named and reading is self._named[0])):
                found, worst = reading, rank
        if found is None:
            self._named = None
            return SEVERITIES[0], "OK"
        named = found, worst[0], found.text + _message(found, readings) if worst[1] else ""
        if named != self._named:
            self._named = named
            reason = _message(found, readings) if worst[1] else found.binding.record.fields.get("DESC", "")
            self._text = f"{self._short(found)}: {found.text}" + (f" ({reason})" if reason else "")
        return SEVERITIES[worst[0]], self._text

    def _note(self, reading: Reading, severity: int) -> None:
        """Note the alarm of a reading that is no state; None ends it."""
        if severity:
            self._noted[reading.name] = reading
        else:
            self._noted.pop(reading.name, None)
        if self._events.has_changed(self._short(reading), severity):
            self._events.alarm(self._short(reading), severity, self._loss(reading))

    def _short(self, reading: Reading) -> str:
        return reading.name.removeprefix(self._prefix)

    @staticmethod
    def _loss(reading: Reading) -> str:
        """Return what an alarm says: of a loss that goes on, how much it began with."""
        description = reading.binding.record.fields.get("DESC", "")
        return f"{reading.text} ({description})" if reading.binding.field.startswith(RECENT) else reading.text


def _explains(reading: Reading) -> int:
    """Return how much a reading explains of others: 0 not being a state, 1 a state, 2 that of a whole host."""
    if reading.binding.field == "state" and reading.binding.owner.startswith(HOST):
        return 2
    return int(reading.binding.field.rpartition(".")[2] == "state")


def _message(state: Reading, readings: Iterable[Reading]) -> str:
    """Return the message that goes with a state: ``disk.message`` with ``disk.state``."""
    wanted = state.binding.owner, state.binding.field.removesuffix("state") + "message"
    return next((r.text for r in readings if (r.binding.owner, r.binding.field) == wanted), "")
