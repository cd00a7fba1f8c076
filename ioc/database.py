"""EPICS's static database: load templates, and see what they hold before the IOC starts.

Only here are EPICS's own C functions called. softioc must have been imported first: it loads the record definitions.
"""

import ctypes
from collections.abc import Iterator, Mapping
from pathlib import Path

from epicscorelibs.ioc import dbCore, pdbbase
from softioc import softioc

from ioc.bindings import DatabaseError, StaticRecord

for _name, _result, _arguments in (
    ("dbAllocEntry", ctypes.c_void_p, [ctypes.c_void_p]),
    ("dbFreeEntry", None, [ctypes.c_void_p]),
    ("dbFirstRecordType", ctypes.c_long, [ctypes.c_void_p]),
    ("dbNextRecordType", ctypes.c_long, [ctypes.c_void_p]),
    ("dbGetRecordTypeName", ctypes.c_char_p, [ctypes.c_void_p]),
    ("dbFirstRecord", ctypes.c_long, [ctypes.c_void_p]),
    ("dbNextRecord", ctypes.c_long, [ctypes.c_void_p]),
    ("dbGetRecordName", ctypes.c_char_p, [ctypes.c_void_p]),
    ("dbFirstField", ctypes.c_long, [ctypes.c_void_p, ctypes.c_int]),
    ("dbNextField", ctypes.c_long, [ctypes.c_void_p, ctypes.c_int]),
    ("dbGetFieldName", ctypes.c_char_p, [ctypes.c_void_p]),
    ("dbIsDefaultValue", ctypes.c_int, [ctypes.c_void_p]),
    ("dbGetString", ctypes.c_char_p, [ctypes.c_void_p]),
    ("dbFirstInfo", ctypes.c_long, [ctypes.c_void_p]),
    ("dbNextInfo", ctypes.c_long, [ctypes.c_void_p]),
    ("dbGetInfoName", ctypes.c_char_p, [ctypes.c_void_p]),
    ("dbGetInfoString", ctypes.c_char_p, [ctypes.c_void_p]),
):
    _function = getattr(dbCore, _name)
    _function.restype, _function.argtypes = _result, _arguments


_LINKS = ("INP", "OUT")


def load(template: Path, macros: Mapping[str, str]) -> None:
    """Load a template. Raises DatabaseError; EPICS has then printed the line to stderr."""
    substitutions = ",".join(f'{name}="{value}"' for name, value in macros.items())
    try:
        softioc.dbLoadDatabase(str(template), substitutions=substitutions)
    except AssertionError:
        raise DatabaseError(f"{template}: EPICS refused it with {substitutions}; its reason stands above") from None


def records() -> Iterator[StaticRecord]:
    """Yield every record loaded so far."""
    entry = dbCore.dbAllocEntry(pdbbase)
    try:
        more_types = dbCore.dbFirstRecordType(entry)
        while more_types == 0:
            kind = dbCore.dbGetRecordTypeName(entry).decode()
            more_records = dbCore.dbFirstRecord(entry)
            while more_records == 0:
                name = dbCore.dbGetRecordName(entry).decode()
                yield StaticRecord(kind, name, dict(_fields(entry)), dict(_tags(entry)))
                more_records = dbCore.dbNextRecord(entry)
            more_types = dbCore.dbNextRecordType(entry)
    finally:
        dbCore.dbFreeEntry(entry)


def _fields(entry: int) -> Iterator[tuple[str, str]]:
    more = dbCore.dbFirstField(entry, 1)  # 1: fields that are configured by the designer only
    while more == 0:
        name = dbCore.dbGetFieldName(entry).decode()
        if name in _LINKS or not dbCore.dbIsDefaultValue(entry):  # a device's link counts as default until iocInit
            yield name, (dbCore.dbGetString(entry) or b"").decode()
        more = dbCore.dbNextField(entry, 1)


def _tags(entry: int) -> Iterator[tuple[str, str]]:
    more = dbCore.dbFirstInfo(entry)
    while more == 0:
        yield dbCore.dbGetInfoName(entry).decode(), dbCore.dbGetInfoString(entry).decode()
        more = dbCore.dbNextInfo(entry)
