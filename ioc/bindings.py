"""Which record shows which value, and which record gives which command: read from the records' info tags and checked.

- ``info(pebbledaq:status, "packets.lost udp.M00")``: the record shows the field ``packets.lost`` of ``udp.M00``;
  ``recent.packets.lost`` is how much that counter grew in the last seconds.
- ``info(pebbledaq:time, "data_ns")`` beside it: the record's time stamp is that field of the same owner, in ns since 1970; else
  it is when the record changed.
- ``info(pebbledaq:severity, "alarm")`` beside it: the record's alarm severity is that field of the same owner, in words.
- ``info(pebbledaq:command, "output_on udp.M00 disk")``: a write calls the handler with the value and the words.
- ``info(pebbledaq:array, "image1")``: the record is a waveform of numbers, the image that ``ioc.live_image`` receives.
- ``info(pebbledaq:trigger, "transition Enable")``: a write of 1 calls the handler with the words; the record returns to 0.

The tag also decides which device support a record has (``device_fields``), so that templates need not repeat it. Pure:
works on records as loaded, before the IOC starts, so that a mistake stops the start-up with one line.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from detectors.errors import PebbleDaqError
from detectors.stats import flat

RECENT: Final = "recent."

ALL: Final = "all"
"""Stands for every source in a binding's words; of ``reset_counters`` for every worker."""

STATES: Final = ("ZR", "ON", "TW", "TH", "FR", "FV", "SX", "SV", "EI", "NI", "TE", "EL", "TV", "TT", "FT", "FF")
"""First letters of the fields of an mbbi's choices, in order: ``ZRST`` is the text of the first choice, ``ZRSV`` its severity."""

_TIME: Final = "pebbledaq:time"
_SEVERITY: Final = "pebbledaq:severity"
ARRAY: Final = "pebbledaq:array"
_STATUS, _COMMAND, _TRIGGER = "pebbledaq:status", "pebbledaq:command", "pebbledaq:trigger"

_OURS: Final = "Event"
"""SCAN of a record that only we process: an event without a name never comes, and a put to a field does not process it."""

_READS: Final[dict[str, tuple[type, ...]]] = {
    "int64in": (int,),
    "longin": (int,),
    "ai": (int, float),
    "bi": (bool,),
    "mbbi": (str,),
    "stringin": (str, int),
    "waveform": (str,),
}
"""Types that a record can show, by record type."""

_WRITES: Final = ("bo", "mbbo", "longout", "int64out", "ao", "stringout", "waveform")


class DatabaseError(PebbleDaqError):
    """The records do not fit the program, or the program the records."""


@dataclass(frozen=True, slots=True)
class StaticRecord:
    """A record as loaded: its type, name, fields that are not at their default, and info tags."""

    kind: str
    name: str
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def choices(self) -> list[str]:
        """Texts of the choices of a record that has some, in order."""
        names = ("ZNAM", "ONAM", *(f"{state}ST" for state in STATES))
        return [self.fields[name] for name in names if name in self.fields]


@dataclass(frozen=True, slots=True)
class StatusBinding:
    """A record that shows ``field`` of ``owner``.

    Its time is what the field ``time`` says, empty: that of the change; its severity what the field ``severity`` says, empty: its own.
    """

    record: StaticRecord
    field: str
    owner: str
    time: str = ""
    severity: str = ""


@dataclass(frozen=True, slots=True)
class CommandBinding:
    """A record whose writes call ``handler`` with ``words``; a trigger gets no value and returns to 0.

    One that ``follows`` another record (tag ``pebbledaq:follows``) only waits for the end of what that has started.
    """

    record: StaticRecord
    handler: str
    words: tuple[str, ...]
    trigger: bool

    @property
    def follows(self) -> str:
        """Name of the record that this one waits for; empty: none."""
        return self.record.tags.get("pebbledaq:follows", "")


@dataclass(frozen=True, slots=True)
class Bindings:
    """All bindings of a database."""

    status: tuple[StatusBinding, ...]
    commands: tuple[CommandBinding, ...]
    arrays: tuple[StaticRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Handler:
    """The action of a command, and the value that its setpoint shows."""

    apply: Callable[..., Awaitable[None]]
    """Called with the value (not for a trigger) and the binding's words; a PebbleDaqError refuses the command."""
    present: Callable[..., Any] | None = None
    """Called with the words; returns the value in force. Triggers have none."""


def device_fields(record: StaticRecord) -> dict[str, str]:
    """Return the fields that let a record be shown, or connect it to softioc, by its tag; none for a record without a tag."""
    if ARRAY in record.tags:
        return {"SCAN": _OURS, "TSE": "-2"}
    if not _tags(record):
        return {}
    fields: dict[str, str] = {}
    if record.kind == "waveform":
        fields["FTVL"] = "CHAR"
    if _STATUS in record.tags:
        fields["SCAN"] = _OURS
    elif record.kind == "waveform":
        fields |= {"DTYP": "PythonLongStringOut", "INP": f"@{record.name}"}
    else:
        fields |= {"DTYP": "Python", "OUT": f"@{record.name}"}
    if _TIME in record.tags:
        fields["TSE"] = "-2"
    return fields


def field_types(snapshot: Any) -> dict[str, type]:
    """Return the type of every field of a snapshot dataclass by dotted name, with ``recent.`` forms of the counters."""
    types: dict[str, type] = {name: type(value) for name, value in flat(snapshot).items()}
    return types | {RECENT + name: kind for name, kind in types.items() if kind is int}


def bind(
    records: Iterable[StaticRecord], owners: Mapping[str, Mapping[str, type]], handlers: Iterable[str]
) -> Bindings:
    """Return the bindings of ``records``; those without a tag are EPICS's own (calc, PVI).

    ``owners`` gives the fields that each owner (``ioc``, a worker) has, with their types. Raises DatabaseError with one
    line per mistake: a name that does not resolve, a type that the record cannot show, and a handler that no record uses.
    """
    status: list[StatusBinding] = []
    commands: list[CommandBinding] = []
    arrays: list[StaticRecord] = []
    problems: list[str] = []
    known = frozenset(handlers)
    for record in records:
        if ARRAY in record.tags:
            arrays.append(record)
        tags = _tags(record)
        if not tags:
            continue
        first, *words = record.tags[tags[0]].split() or [""]
        if len(tags) > 1:
            problem = f"found the tags {', '.join(tags)}, expected one of them"
        elif tags[0] == _STATUS:
            problem = _status_problem(record, first, words, owners)
            if problem is None:
                time, severity = (record.tags.get(tag, "") for tag in (_TIME, _SEVERITY))
                status.append(StatusBinding(record, first, words[0], time, severity))
        else:
            problem = _command_problem(record, first, known)
            commands.append(CommandBinding(record, first, tuple(words), tags[0] == _TRIGGER))
        if problem is not None:
            problems.append(f"{record.name}: {problem}")
    unused = known - {command.handler for command in commands}
    problems += [f"handler {name!r} is bound to no record; bind one or remove the handler" for name in sorted(unused)]
    if problems:
        raise DatabaseError("\n".join(problems))
    return Bindings(tuple(status), tuple(commands), tuple(arrays))


def is_setpoint(record: StaticRecord) -> bool:
    """Return whether a record takes commands."""
    return not {_COMMAND, _TRIGGER}.isdisjoint(record.tags)


def is_trigger(record: StaticRecord) -> bool:
    """Return whether a write of 1 to a record does something, and the record returns to 0."""
    return _TRIGGER in record.tags


def _tags(record: StaticRecord) -> list[str]:
    return [tag for tag in (_STATUS, _COMMAND, _TRIGGER) if tag in record.tags]


def _status_problem(
    record: StaticRecord, field: str, words: list[str], owners: Mapping[str, Mapping[str, type]]
) -> str | None:
    if len(words) != 1 or words[0] not in owners:
        return f"found the owner {' '.join(words)!r}, expected one of {', '.join(owners)}"
    kind = owners[words[0]].get(field)
    if kind is None:
        return f"bound to {field!r}, which {words[0]} does not have"
    time = record.tags.get(_TIME)
    if time is not None and owners[words[0]].get(time) is not int:
        return f"found the time {time!r}, expected a field of {words[0]} in ns"
    severity = record.tags.get(_SEVERITY)
    if severity is not None and owners[words[0]].get(severity) is not str:
        return f"found the severity {severity!r}, expected a field of {words[0]} that is a word"
    if kind not in _READS.get(record.kind, ()):
        return f"a record of type {record.kind} cannot show {field!r}, which is {kind.__name__}"
    return None


def _command_problem(record: StaticRecord, handler: str, known: frozenset[str]) -> str | None:
    if handler not in known:
        return f"bound to the handler {handler!r}, which does not exist; there are {', '.join(sorted(known))}"
    if record.kind not in _WRITES:
        return f"a record of type {record.kind} takes no commands"
    return None
