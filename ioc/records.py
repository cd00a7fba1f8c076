"""The records at run time: readings that publish on change, and setpoints (``ioc.setpoint``).

Made from the bindings after the templates are loaded and before the IOC starts.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from softioc import alarm

from ioc.array_record import ArrayRecord
from ioc.bindings import ARRAY, STATES, Bindings, Handler, StatusBinding
from ioc.events import SEVERITIES
from ioc.input_record import InputRecord
from ioc.puts import PutLog
from ioc.setpoint import Setpoint
from ioc.status import OWNER as IOC

log = logging.getLogger(__name__)

_INT64_MAX: Final = 2**63 - 1
_LONG_MAX: Final = 2**31 - 1


class Reading:
    """A record that shows one field. It is processed only when its value or validity changes."""

    def __init__(self, binding: StatusBinding) -> None:
        self.binding = binding
        self.is_state = binding.record.kind == "mbbi" and binding.field.endswith("state")
        """Whether it shows a state, in words."""
        self._record = InputRecord(binding.record)
        self._choices = binding.record.choices
        self._field, self._is_of_process = binding.field, binding.field.startswith("process.")
        self._shown: tuple[Any, bool, int] | None = None

    @property
    def name(self) -> str:
        """Name of the record."""
        return self.binding.record.name

    def show(self, values: Mapping[str, Any], *, valid: bool) -> bool:
        """Publish its field of ``values``, INVALID when these are only the last known ones; return whether anything changed.

        The state of a process is always known.
        """
        if self._field not in values:
            return False
        binding, value, current = self.binding, values[self._field], valid or self._is_of_process
        severity = SEVERITIES.index(values[binding.severity]) if binding.severity else alarm.NO_ALARM
        if (value, current, severity) == self._shown:
            return False
        self._shown = (value, current, severity)
        raw, known = self._raw(value)
        status = alarm.STATE_ALARM if severity else 0
        if not current:
            severity, status = alarm.INVALID_ALARM, alarm.COMM_ALARM
        elif not known:
            severity, status = alarm.INVALID_ALARM, alarm.STATE_ALARM
        self._record.set(raw, severity, status, (values.get(binding.time) or time.time_ns()) if binding.time else 0)
        return True

    def _raw(self, value: Any) -> tuple[Any, bool]:
        """Return the value as the record holds it, and whether it is one of the record's choices."""
        kind = self.binding.record.kind
        if kind == "mbbi":
            if value in self._choices:
                return self._choices.index(value), True
            log.error("%s: found the state %r, expected one of %s", self.name, value, ", ".join(self._choices))
            return len(self._choices), False
        if kind == "waveform":
            text = _cut(value, int(self.binding.record.fields["NELM"]) - 1)
            return np.frombuffer(text + b"\0", np.int8), True
        if kind == "stringin":
            return _cut(str(value), 39), True
        if kind in ("int64in", "longin"):
            limit = _INT64_MAX if kind == "int64in" else _LONG_MAX
            return max(-limit, min(int(value), limit)), True
        return value, True

    @property
    def severity(self) -> int:
        """Alarm severity that the record has now, from its own limits too."""
        return self._record.severity

    @property
    def state_severity(self) -> int:
        """Severity of the state that it shows, by its template, also of one that is only the last known."""
        value = self.text
        if value not in self._choices:
            return 0
        name = self.binding.record.fields.get(f"{STATES[self._choices.index(value)]}SV", "None")
        return SEVERITIES.index(name.title()) if name != "NO_ALARM" else 0

    @property
    def text(self) -> str:
        """The record's value in words."""
        value = "" if self._shown is None else self._shown[0]
        unit = self.binding.record.fields.get("EGU", "")
        return f"{value} {unit}".strip()


class Records:
    """All bound records of the IOC."""

    def __init__(
        self,
        bindings: Bindings,
        handlers: Mapping[str, Handler],
        done: Callable[[str, str | None, float], None],
        state_changed: Callable[[Reading, str], None],
    ) -> None:
        """``state_changed(reading, before)`` is called after each change of a state, ``done(record, refusal, at_s)`` after each command.

        ``at_s`` is when it was refused or, of a good one, when it began, on the monotonic clock.
        """
        self._state_changed = state_changed
        self.readings = [Reading(binding) for binding in bindings.status]
        self._puts = PutLog()
        found: dict[str, Setpoint] = {}
        for binding in sorted(bindings.commands, key=lambda binding: binding.follows):  # leaders first
            handler, leader = handlers[binding.handler], found.get(binding.follows)
            found[binding.record.name] = Setpoint(binding, handler, done, self._puts.putter, leader)
        self.setpoints = list(found.values())
        self._arrays = {record.tags[ARRAY]: ArrayRecord(record) for record in bindings.arrays}
        self.published = 0
        """Publications of readings so far, but for those of the IOC itself."""
        self._by_owner: dict[str, list[Reading]] = {}
        for reading in self.readings:
            self._by_owner.setdefault(reading.binding.owner, []).append(reading)

    def __len__(self) -> int:
        return len(self.readings) + len(self.setpoints)

    def fields(self, owner: str) -> set[str]:
        """Return the fields of an owner that some record shows."""
        return {reading.binding.field for reading in self._by_owner.get(owner, ())}

    def show(self, owner: str, values: Mapping[str, Any], *, valid: bool = True) -> None:
        """Publish what changed of an owner. ``valid`` false marks all but the state of its process as last known."""
        for reading in self._by_owner.get(owner, ()):
            before = reading.text if reading.is_state else ""
            if reading.show(values, valid=valid):
                self.published += owner != IOC
                if before and before != reading.text:
                    self._state_changed(reading, before)

    def show_array(self, owner: str, pixels: np.ndarray, time_ns: int) -> None:
        """Publish an image of an owner, at the time of its data."""
        self._arrays[owner].show(pixels, time_ns)

    def refresh(self) -> None:
        """Show the value in force in every setpoint."""
        for setpoint in self.setpoints:
            setpoint.refresh()


def _cut(text: str, limit: int) -> bytes:
    """Return as much of ``text`` as fits into ``limit`` bytes, without half a character."""
    return text.encode()[:limit].decode(errors="ignore").encode()
