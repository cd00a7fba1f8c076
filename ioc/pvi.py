"""PVI: structures in which generic clients find all signals of the server, made from the names of its records. Pure.

A record ``...PVI_`` heads a structure ``...PVI``: of the server, of a source, of ``cam1:`` and the like. It lists the records whose
names begin as its own and the structures below it. Names are in snake_case, ``Disk:On`` is ``disk_on``. A reading is ``r``, a
setpoint with a readback ``w`` beside it, a setpoint that reads back itself ``rw``, a command ``x``, a structure ``d``.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from ioc.bindings import DatabaseError, StaticRecord, is_setpoint, is_trigger

_HEAD: Final = "PVI_"
_READBACK: Final = "_RBV"
_ID: Final = "epics:nt/NTPVI:1.0"
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

Structure = dict[str, dict[str, str]]
"""The PVs of each member of a structure by what they are for: ``r``, ``w``, ``rw``, ``x``, ``d``."""


def members(records: Iterable[StaticRecord]) -> dict[str, Structure]:
    """Return the members of every structure, by the name of its PV.

    A partner of a setpoint, which is only busy, is none. Raises DatabaseError when two PVs have one name.
    """
    listed = sorted(records, key=lambda record: record.name)
    heads = [record.name.removesuffix(_HEAD) for record in listed if record.name.endswith(_HEAD)]
    heads.sort(key=len, reverse=True)
    purposes = _purposes(listed)
    found: dict[str, Structure] = {f"{head}PVI": {} for head in reversed(heads)}

    def add(name: str, what: str, pv: str) -> None:
        head = next((head for head in heads if name.startswith(head) and name != head), None)
        if head is None:
            return
        short = name.removeprefix(head).rstrip(":")
        # A source's name is the user's, and not taken apart.
        member = re.sub("[:-]", "_", short if what == "d" else _WORD.sub("_", short)).lower()
        entry = found[f"{head}PVI"].setdefault(member, {})
        if what in entry or (entry and {what, *entry} != {"r", "w"}):
            others = ", ".join(entry.values())
            raise DatabaseError(f"{head}PVI: {pv} and {others} are both {member}; give the source another name")
        entry[what] = pv

    for head in heads:
        add(head, "d", f"{head}PVI")
    for name, what in purposes.items():
        bare = name.removesuffix(_READBACK)
        # Some readings have a second name without _RBV, areaDetector's.
        add(name if bare != name and purposes.get(bare) == "r" else bare, what, name)
    return found


def groups(records: Iterable[StaticRecord]) -> dict[str, str]:
    """Return the info tag ``Q:group`` of every record that heads a structure, by its name."""
    return {f"{structure}_": json.dumps({structure: _group(found)}) for structure, found in members(records).items()}


def _group(found: Structure) -> dict[str, Any]:
    """Return the group as PV Access is to serve it. Names are constants: as fields of EPICS they end after 39 characters."""
    head = {
        "+id": _ID,
        "display.description": {"+channel": "DESC", "+type": "plain", "+trigger": "*"},
        "": {"+channel": "VAL", "+type": "meta"},
    }
    return head | {
        f"value.{member}.{what}": {"+type": "const", "+const": pv}
        for member, entry in found.items()
        for what, pv in entry.items()
    }


def _purposes(records: Iterable[StaticRecord]) -> dict[str, str]:
    """Return what every record that is a member is for, by its name."""
    listed = [r for r in records if not r.name.endswith(_HEAD) and "pebbledaq:follows" not in r.tags]
    names = {record.name for record in listed}
    return {record.name: _purpose(record, read_back=f"{record.name}{_READBACK}" in names) for record in listed}


def _purpose(record: StaticRecord, *, read_back: bool) -> str:
    if is_trigger(record):
        return "x"
    if not is_setpoint(record):
        return "r"
    return "w" if read_back else "rw"
