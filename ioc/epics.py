"""Where we use more of softioc than its public interface. Everything it may change without notice is in this file.

A record's *device* is softioc's object for it.
"""

import asyncio
import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from epicscorelibs.ioc import Com, dbCore
from softioc import asyncio_dispatcher, device, fields, imports, softioc

from ioc.bindings import DatabaseError, StaticRecord

CALLBACK_QUEUE: Final = 8000
"""Records that may wait for processing; EPICS's default overflows when all records change in one tick."""


def make_device(record: StaticRecord, **arguments: Any) -> Any:
    """Return a new device of a record of the static database. softioc's own way is to make the record, too."""
    if record.kind != "waveform":
        return getattr(device, record.kind)(record.name, **arguments)
    kinds = {"PythonLongStringIn": device.long_stringin, "PythonLongStringOut": device.long_stringout}
    arguments |= {"_wf_nelm": int(record.fields["NELM"]), "_wf_dtype": np.dtype("i1")}
    arguments.setdefault("initial_value", "")
    return kinds[record.fields["DTYP"]](record.name, **arguments)


def severity(record: Any) -> int:
    """Return the alarm severity that a device's record has now, from its own limits too."""
    return record._record.SEVR  # noqa: SLF001  the public way copies it through a string


def is_busy(record: Any) -> bool:
    """Whether the record waits for the end of its handler (PACT)."""
    return bool(record._record.PACT)  # noqa: SLF001


def process(name: str) -> None:
    """Process a record."""
    one, kind = np.array([1], dtype=np.uint8), fields.DBF_UCHAR  # pyright: ignore[reportAttributeAccessIssue]
    imports.db_put_field_process(f"{name}.PROC", kind, one.ctypes.data, 1, True)


def set_up() -> None:
    """Set what EPICS reads when it starts."""
    # As root EPICS locks all memory, present and future: mapping a pebble would take seconds.
    ctypes.c_int.in_dll(dbCore, "dbThreadRealtimeLock").value = 0
    imports.callbackSetQueueSize(CALLBACK_QUEUE)
    # Clients are known by their address, not by the name that they give themselves.
    ctypes.c_int.in_dll(Com, "asCheckClientIP").value = 1


def start(stopping: Callable[[], bool], access_file: Path, macros: str) -> None:
    """Start EPICS's servers; writes are handled on the running event loop, and dropped once ``stopping()``.

    ``macros`` are those of the access file. Raises DatabaseError when EPICS does not start.
    """
    dbCore.asSetFilename(str(access_file).encode())
    dbCore.asSetSubstitutions(macros.encode())
    to_loop = asyncio_dispatcher.AsyncioDispatcher(asyncio.get_running_loop())

    def dispatch(*args: Any, **kwargs: Any) -> None:
        if not stopping():  # the loop is about to close and would never run it
            to_loop(*args, **kwargs)

    try:
        softioc.iocInit(dispatch)
    except AssertionError as error:
        raise DatabaseError(f"EPICS did not start: {error}; its reason stands above") from None
    if not ctypes.c_int.in_dll(Com, "asActive").value:
        raise DatabaseError(f"ioc.access_file: EPICS refused {access_file}; its reason stands above")
