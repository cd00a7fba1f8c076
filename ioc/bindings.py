"""Which record shows which value, and which record is whose command: read from the records' info tags and checked.

- ``info(pebbledaq:status, "packets.lost udp.M00")``: the record shows the field ``packets.lost`` of ``udp.M00``;
  ``recent.packets.lost`` is what that counter gained in the last seconds.
- ``info(pebbledaq:command, "output_enable udp.M00 disk")``: a write calls the handler with the value and the words.
- ``info(pebbledaq:trigger, "transition Enable")``: a write of 1 calls the handler with the words; the record returns to 0.

Pure: works on records as loaded, before the IOC starts, so that a mistake stops the start-up with one line.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from detectors.errors import PebbleDaqError
from detectors.stats import flat

RECENT: Final = "recent."

_STATUS, _COMMAND, _TRIGGER = "pebbledaq:status", "pebbledaq:command", "pebbledaq:trigger"

_READS: Final[dict[str, tuple[type, ...]]] = {
    "int64in": (int,),
    "longin": (int,),
    "ai": (int, float),
    "bi": (bool,),
    "mbbi": (str,),
    "stringin": (str,),
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
    fields: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatusBinding:
    """A record that shows ``field`` of ``owner``."""

    record: StaticRecord
    field: str
    owner: str


@dataclass(frozen=True, slots=True)
class CommandBinding:
    """A record whose writes call ``handler`` with ``words``; a trigger gets no value and returns to 0."""

    record: StaticRecord
    handler: str
    words: tuple[str, ...]
    trigger: bool


@dataclass(frozen=True, slots=True)
class Bindings:
    """All bindings of a database."""

    status: tuple[StatusBinding, ...]
    commands: tuple[CommandBinding, ...]


def field_types(snapshot: Any) -> dict[str, type]:
    """Return the type of every field of a snapshot dataclass by dotted name, with ``recent.`` forms of the counters."""
    types: dict[str, type] = {name: type(value) for name, value in flat(snapshot).items()}
    return types | {RECENT + name: kind for name, kind in types.items() if kind is int}


def bind(
    records: Iterable[StaticRecord], owners: Mapping[str, Mapping[str, type]], handlers: Iterable[str]
) -> Bindings:
    """Return the bindings of ``records``.

    ``owners`` gives the fields that each owner (``ioc``, a worker) has, with their types. Raises DatabaseError with one
    line per mistake: a Python record without binding, a name that does not resolve, a type that the record cannot
    show, and a handler that no record uses.
    """
    status: list[StatusBinding] = []
    commands: list[CommandBinding] = []
    problems: list[str] = []
    unused = set(handlers)
    known = frozenset(unused)
    for record in records:
        tags = [tag for tag in (_STATUS, _COMMAND, _TRIGGER) if tag in record.tags]
        python = record.fields.get("DTYP", "").startswith("Python")
        if not python and not tags:
            continue
        if not python or len(tags) != 1:
            problems.append(
                f"{record.name}: found DTYP {record.fields.get('DTYP', '')!r} with {len(tags)} pebbledaq tags, "
                "expected a Python record with exactly one of status, command and trigger"
            )
            continue
        first, *words = record.tags[tags[0]].split() or [""]
        if tags[0] == _STATUS:
            problem = _status_problem(record, first, words, owners)
            if problem is None:
                status.append(StatusBinding(record, first, words[0]))
        else:
            problem = _command_problem(record, first, known)
            unused.discard(first)
            commands.append(CommandBinding(record, first, tuple(words), tags[0] == _TRIGGER))
        if problem is not None:
            problems.append(f"{record.name}: {problem}")
    problems += [f"handler {name!r} is bound to no record; bind one or remove the handler" for name in sorted(unused)]
    if problems:
        raise DatabaseError("\n".join(problems))
    return Bindings(tuple(status), tuple(commands))


def _status_problem(
    record: StaticRecord, field: str, words: list[str], owners: Mapping[str, Mapping[str, type]]
) -> str | None:
    if len(words) != 1 or words[0] not in owners:
        return f"found the owner {' '.join(words)!r}, expected one of {', '.join(owners)}"
    kind = owners[words[0]].get(field)
    if kind is None:
        return f"bound to {field!r}, which {words[0]} does not have"
    if kind not in _READS.get(record.kind, ()):
        return f"a record of type {record.kind} cannot show {field!r}, which is {kind.__name__}"
    if record.kind == "waveform" and record.fields["DTYP"] != "PythonLongStringIn":
        return f"found DTYP {record.fields['DTYP']}, expected PythonLongStringIn for text"
    if record.fields.get("SCAN") != "I/O Intr":
        return f"found SCAN {record.fields.get('SCAN', 'Passive')}, expected I/O Intr: else nothing is ever shown"
    return _link_problem(record, "INP")


def _command_problem(record: StaticRecord, handler: str, known: frozenset[str]) -> str | None:
    if handler not in known:
        return f"bound to the handler {handler!r}, which does not exist; there are {', '.join(sorted(known))}"
    if record.kind not in _WRITES:
        return f"a record of type {record.kind} takes no commands"
    return _link_problem(record, "INP" if record.kind == "waveform" else "OUT")


def _link_problem(record: StaticRecord, link: str) -> str | None:
    found = record.fields.get(link, "")
    return None if found == f"@{record.name}" else f"found {link} {found!r}, expected '@{record.name}'"
