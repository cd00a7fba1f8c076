"""EPICS's static database: load templates, connect the records to softioc, and read them before the IOC starts.

EPICS's C functions of the static database are called here only. softioc must have been imported first: it loads the record definitions.
"""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from epicscorelibs.ioc import dbCore, pdbbase
from softioc import softioc

from ioc.access import LIMITED_KINDS, LIMITS, role
from ioc.bindings import DatabaseError, StaticRecord, device_fields
from ioc.pvi import groups

_ENTRY, _TEXT = ctypes.c_void_p, ctypes.c_char_p


class _FieldDescription(ctypes.Structure):
    """The beginning of ``dbFldDes`` in dbBase.h."""

    _fields_ = (
        ("prompt", _TEXT),
        ("name", _TEXT),
        ("extra", _TEXT),
        ("record_type", ctypes.c_void_p),
        ("index", ctypes.c_short),
        ("special", ctypes.c_short),
        ("field_type", ctypes.c_int),
        ("bits", ctypes.c_uint),
        ("base", ctypes.c_int),
        ("prompt_group", ctypes.c_short),
        ("interest", ctypes.c_short),
        ("access_level", ctypes.c_int),
    )


class _Entry(ctypes.Structure):
    """The beginning of ``dbEntry`` in dbStaticLib.h."""

    _fields_ = (
        ("base", ctypes.c_void_p),
        ("record_type", ctypes.c_void_p),
        ("field", ctypes.POINTER(_FieldDescription)),
    )


for _name, _result, _arguments in (
    ("dbAllocEntry", _ENTRY, [ctypes.c_void_p]),
    ("dbFreeEntry", None, [_ENTRY]),
    ("dbFirstRecordType", ctypes.c_long, [_ENTRY]),
    ("dbNextRecordType", ctypes.c_long, [_ENTRY]),
    ("dbFindRecordType", ctypes.c_long, [_ENTRY, _TEXT]),
    ("dbGetRecordTypeName", _TEXT, [_ENTRY]),
    ("dbFirstRecord", ctypes.c_long, [_ENTRY]),
    ("dbNextRecord", ctypes.c_long, [_ENTRY]),
    ("dbGetRecordName", _TEXT, [_ENTRY]),
    ("dbFindField", ctypes.c_long, [_ENTRY, _TEXT]),
    ("dbFirstField", ctypes.c_long, [_ENTRY, ctypes.c_int]),
    ("dbNextField", ctypes.c_long, [_ENTRY, ctypes.c_int]),
    ("dbGetFieldName", _TEXT, [_ENTRY]),
    ("dbIsDefaultValue", ctypes.c_int, [_ENTRY]),
    ("dbGetString", _TEXT, [_ENTRY]),
    ("dbPutString", ctypes.c_long, [_ENTRY, _TEXT]),
    ("dbFirstInfo", ctypes.c_long, [_ENTRY]),
    ("dbNextInfo", ctypes.c_long, [_ENTRY]),
    ("dbGetInfoName", _TEXT, [_ENTRY]),
    ("dbGetInfoString", _TEXT, [_ENTRY]),
    ("dbPutInfo", ctypes.c_long, [_ENTRY, _TEXT, _TEXT]),
):
    _function = getattr(dbCore, _name)
    _function.restype, _function.argtypes = _result, _arguments


def load(template: Path, macros: Mapping[str, str]) -> None:
    """Load a template. Raises DatabaseError; EPICS has then printed the line to stderr."""
    substitutions = ",".join(f'{name}="{value}"' for name, value in macros.items())
    try:
        softioc.dbLoadDatabase(str(template), substitutions=substitutions)
    except AssertionError:
        raise DatabaseError(f"{template}: EPICS refused it with {substitutions}; its reason stands above") from None


def load_statistics(prefix: str) -> None:
    """Load devIocStats, which softioc brings: memory, processor, clients and descriptors of the IOC's process, below ``$(P)IOC:``."""
    softioc.devIocStats(f"{prefix}IOC")


def connect() -> list[StaticRecord]:
    """Fill in the fields that connect each tagged record to softioc, and the PVI structures; return all records, as they are then."""
    found: list[StaticRecord] = []
    for entry in _entries():
        record = _read(entry)
        added = {**device_fields(record), "ASG": role(record)}
        for name, value in added.items():
            if dbCore.dbFindField(entry, name.encode()) or dbCore.dbPutString(entry, value.encode()):
                raise DatabaseError(f"{record.name}: EPICS refused {value!r} in the field {name}")
        if added.get("FTVL"):
            dbCore.dbPutInfo(entry, b"Q:form", b"String")  # PV Access shows it as a string
        found.append(_read(entry))
    heads = groups(found)
    for entry in _entries():
        if group := heads.get(dbCore.dbGetRecordName(entry).decode()):
            dbCore.dbPutInfo(entry, b"Q:group", group.encode())
    _protect_values()
    return found


def _protect_values() -> None:
    """Exchange the access levels of a reading's value (0 in EPICS) and of its alarm limits (1).

    A rule of level 1 is for fields of level 0 too: as they are, nobody could be given the limits without the value.
    """
    entry = dbCore.dbAllocEntry(pdbbase)
    try:
        for kind in LIMITED_KINDS:
            dbCore.dbFindRecordType(entry, kind.encode())
            for _ in _walk(lambda: dbCore.dbFirstField(entry, 0), lambda: dbCore.dbNextField(entry, 0)):
                described = ctypes.cast(entry, ctypes.POINTER(_Entry)).contents.field.contents
                name = described.name.decode()
                if name == "VAL" or name in LIMITS:
                    if described.access_level != (name != "VAL"):
                        raise DatabaseError(
                            f"EPICS has another layout: found the level {described.access_level} of {name}"
                        )
                    described.access_level = name == "VAL"
    finally:
        dbCore.dbFreeEntry(entry)


def _entries() -> Iterator[int]:
    """Yield EPICS's database entry at every record loaded so far."""
    entry = dbCore.dbAllocEntry(pdbbase)
    try:
        more_types = dbCore.dbFirstRecordType(entry)
        while more_types == 0:
            more_records = dbCore.dbFirstRecord(entry)
            while more_records == 0:
                yield entry
                more_records = dbCore.dbNextRecord(entry)
            more_types = dbCore.dbNextRecordType(entry)
    finally:
        dbCore.dbFreeEntry(entry)


def _read(entry: int) -> StaticRecord:
    kind, name = dbCore.dbGetRecordTypeName(entry).decode(), dbCore.dbGetRecordName(entry).decode()
    fields = {
        dbCore.dbGetFieldName(entry).decode(): (dbCore.dbGetString(entry) or b"").decode()
        # 1: only fields that a template may set
        for _ in _walk(lambda: dbCore.dbFirstField(entry, 1), lambda: dbCore.dbNextField(entry, 1))
        if not dbCore.dbIsDefaultValue(entry)
    }
    tags = {
        dbCore.dbGetInfoName(entry).decode(): dbCore.dbGetInfoString(entry).decode()
        for _ in _walk(lambda: dbCore.dbFirstInfo(entry), lambda: dbCore.dbNextInfo(entry))
    }
    return StaticRecord(kind, name, fields, tags)


def _walk(first: Callable[[], Any], following: Callable[[], Any]) -> Iterator[None]:
    """Yield once for every place that ``first`` and ``following`` move to; they return 0 while there is one."""
    more = first()
    while more == 0:
        yield
        more = following()
