"""The records at run time: readings that publish on change, and setpoints (``ioc.setpoint``).

Made from the bindings after the templates are loaded and before the IOC starts.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from softioc import alarm

from ioc import epics
from ioc.array_record import ArrayRecord
from ioc.bindings import ARRAY, Bindings, Handler, StatusBinding
from ioc.puts import PutLog
from ioc.setpoint import Setpoint
from ioc.status import OWNER as IOC

log = logging.getLogger(__name__)

_INT64_MAX: Final = 2**63 - 1
_LONG_MAX: Final = 2**31 - 1

SEVERITIES: Final = ("None", "Minor", "Major", "Invalid")
"""Alarm severities by EPICS's numbers, as IocStatus names them."""


class Reading:
    """A record that shows one field. It is processed only when its value or validity changes."""

    def __init__(self, binding: StatusBinding) -> None:
        self.binding = binding
        self._device = epics.make_device(binding.record)
        self._choices = binding.record.choices
        self._shown: tuple[Any, bool] | None = None

    @property
    def name(self) -> str:
        """Name of the record."""
        return self.binding.record.name

    def show(self, value: Any, *, valid: bool = True, time_ns: int = 0) -> bool:
        """Publish ``value`` with its time, INVALID when it is only the last known one; return whether anything changed.

        ``time_ns`` is for records that have their time from the data; 0: now.
        """
        if (value, valid) == self._shown:
            return False
        self._shown = (value, valid)
        raw, known = self._raw(value)
        severity, status = (alarm.NO_ALARM, 0)
        if not valid:
            severity, status = alarm.INVALID_ALARM, alarm.COMM_ALARM
        elif not known:
            severity, status = alarm.INVALID_ALARM, alarm.STATE_ALARM
        timestamp = epics.timestamp(time_ns or time.time_ns()) if self.binding.time else None
        self._device.set(raw, severity=severity, alarm=status, timestamp=timestamp)
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
            return _cut(value, int(self.binding.record.fields["NELM"]) - 1), True
        if kind == "stringin":
            return _cut(value, 39), True
        if kind in ("int64in", "longin"):
            limit = _INT64_MAX if kind == "int64in" else _LONG_MAX
            return max(-limit, min(int(value), limit)), True
        return value, True

    @property
    def severity(self) -> int:
        """Alarm severity that the record has now, from its own limits too."""
        return epics.severity(self._device)

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
        done: Callable[[str, str | None], None],
    ) -> None:
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
            field = reading.binding.field
            if field in values:
                current = valid or field.startswith("process.")
                changed = reading.show(values[field], valid=current, time_ns=values.get(reading.binding.time, 0))
                self.published += changed and owner != IOC

    def show_array(self, owner: str, pixels: np.ndarray, time_ns: int) -> None:
        """Publish an image of an owner, at the time of its data."""
        self._arrays[owner].show(pixels, time_ns)

    def refresh(self) -> None:
        """Show the value in force in every setpoint."""
        for setpoint in self.setpoints:
            setpoint.refresh()

    def worst(self, prefix: str) -> tuple[str, str]:
        """Return the worst severity of all readings, and the record that has it, with its value and the reason.

        Of equal ones a state comes first: it explains the others.
        """
        found: Reading | None = None
        worst = (0, False)
        for reading in self.readings:
            rank = (reading.severity, reading.binding.field.rpartition(".")[2] == "state")
            if rank[0] and rank > worst and reading.binding.owner != IOC:
                found, worst = reading, rank
        if found is None:
            return SEVERITIES[0], "OK"
        reason = self._message(found) if worst[1] else found.binding.record.fields.get("DESC", "")
        text = f"{found.name.removeprefix(prefix)}: {found.text}"
        return SEVERITIES[worst[0]], f"{text} ({reason})" if reason else text

    def _message(self, state: Reading) -> str:
        """Return the message that goes with a state: ``disk.message`` with ``disk.state``."""
        field = state.binding.field.removesuffix("state") + "message"
        return next((r.text for r in self._by_owner[state.binding.owner] if r.binding.field == field), "")


def _cut(text: str, limit: int) -> str:
    """Return as much of ``text`` as fits into ``limit`` bytes, without half a character."""
    return text.encode()[:limit].decode(errors="ignore")
