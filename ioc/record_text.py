"""The records of a configuration as their templates have them, for lists of them: read without EPICS."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ioc.bindings import STATES
from ioc.templates import Load

_RECORD: Final = re.compile(r'^record\((\w+), "([^"]+)"\) \{$(.*?)^\}$', re.MULTILINE | re.DOTALL)
_FIELD: Final = re.compile(r'^    field\((\w+), "([^"]*)"\)$', re.MULTILINE)
_TAG: Final = re.compile(r'^    info\(([\w:]+), "([^"]*)"\)$', re.MULTILINE)
_LIMITS: Final = (("LOLO", "LLSV", "to"), ("LOW", "LSV", "to"), ("HIGH", "HSV", "from"), ("HIHI", "HHSV", "from"))


@dataclass(frozen=True, slots=True)
class RecordText:
    """One record of a template, its macros expanded."""

    kind: str
    name: str
    fields: Mapping[str, str]
    tags: Mapping[str, str]

    @property
    def description(self) -> str:
        """What it is."""
        return self.fields.get("DESC", "")

    @property
    def unit(self) -> str:
        """Its unit, or what it can be."""
        if self.kind in ("bi", "bo"):
            return ", ".join(self.fields[key] for key in ("ZNAM", "ONAM"))
        if self.kind in ("mbbi", "mbbo"):
            return ", ".join(self.fields[f"{key}ST"] for key in STATES if self.fields.get(f"{key}ST"))
        return self.fields.get("EGU", "")

    @property
    def archive(self) -> str:
        """How an archiver is to store it: the method, the shortest time between two values, and the field; empty: not."""
        return self.tags.get("archive", "")

    @property
    def alarm(self) -> str:
        """Which values alarm, and how badly."""
        fields = self.fields
        found = [
            f"{fields[severity]} {word} {fields[limit]}"
            for limit, severity, word in _LIMITS
            if limit in fields and fields.get(severity, "NO_ALARM") != "NO_ALARM"
        ]
        for severity in ("MINOR", "MAJOR", "INVALID"):
            states = [fields[f"{key}ST"] for key in STATES if fields.get(f"{key}SV") == severity]
            if states:
                found.append(f"{severity}: {', '.join(states)}")
        return "; ".join(found)


def records(load: Load, macros: Mapping[str, str] | None = None) -> Iterator[RecordText]:
    """Yield the records of a template. ``macros`` are those of ``load``, or others in their place."""
    values = load.macros if macros is None else macros
    text = load.path.read_text(encoding="utf-8")
    expanded = re.sub(
        r"\$\((\w+)(=?)\)", lambda macro: values.get(macro[1], "") if macro[2] else values[macro[1]], text
    )
    for kind, name, body in _RECORD.findall(expanded):
        yield RecordText(kind, name, dict(_FIELD.findall(body)), dict(_TAG.findall(body)))
