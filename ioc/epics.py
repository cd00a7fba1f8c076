"""Where we use more of softioc than its public interface. Everything it may change without notice is in this file.

A record's *device* is softioc's object for it.
"""

import asyncio
import ctypes
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from epicscorelibs.ioc import Com, dbCore
from softioc import alarm, asyncio_dispatcher, device, imports, softioc

from ioc.bindings import DatabaseError, StaticRecord

_DBE_VALUE, _DBE_LOG = 1, 2
"""Events of caeventmask.h."""

_AMSG_BYTES: Final = 39
"""Room for text in a record's AMSG."""

_NOTIFY_ERROR: Final = 2


class _ProcessNotify(ctypes.Structure):
    """The beginning of ``processNotify`` in dbNotify.h: a put that waits for the end of the processing."""

    _fields_ = (
        ("restart_node", ctypes.c_void_p * 3),
        ("private", ctypes.c_void_p),
        ("status", ctypes.c_int),
    )


_ADDRESS_WORDS: Final = 16
"""Room for a ``DBADDR`` of dbAddr.h, which begins with the address of the record."""

_EPICS_EPOCH_S: Final = 631_152_000
"""1990-01-01 in POSIX time, s."""


def make_device(record: StaticRecord, **arguments: Any) -> Any:
    """Return a new device of an output record of the static database. softioc's own way is to make the record, too."""
    if record.kind != "waveform":
        return getattr(device, record.kind)(record.name, **arguments)
    arguments |= {"_wf_nelm": int(record.fields["NELM"]), "_wf_dtype": np.dtype("i1")}
    return device.long_stringout(record.name, **arguments)


def address(name: str) -> int:
    """Return where a record is in memory."""
    found = (ctypes.c_void_p * _ADDRESS_WORDS)()
    if dbCore.dbNameToAddr(name.encode(), ctypes.byref(found)):
        raise DatabaseError(f"{name}: EPICS has no such record")
    return found[0] or 0


def field_offsets(kind: str) -> Mapping[str, int]:
    """Return where the fields of a record of a type are, in bytes from its beginning."""
    return {name: offset for name, (offset, _, _) in imports.get_field_offsets(kind).items()}


def timestamp(time_ns: int) -> tuple[int, int]:
    """Return a POSIX time as records hold it, exactly: s since 1990, and ns; the nearest one that EPICS can hold, 1990 to 2106."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    if not _EPICS_EPOCH_S <= seconds < 1 << 32:
        seconds, nanoseconds = min(max(seconds, _EPICS_EPOCH_S), (1 << 32) - 1), 0
    return seconds - _EPICS_EPOCH_S, nanoseconds


def severity(record: Any) -> int:
    """Return the alarm severity that a device's record has now."""
    # softioc's own way goes through a string.
    found = record._record  # noqa: SLF001
    return ctypes.c_uint16.from_address(found.record.value + found.fields["SEVR"][0]).value


def show(record: Any, value: Any) -> None:
    """Set the value of an output record and publish it, without processing the record: that would be a put.

    When another put waits for the end of the present one, it has written its value already: ``value`` is then what the
    record returns to if that is refused.
    """
    with _locked(record) as address:
        if record._record.RPRO:  # noqa: SLF001
            record._value = record._value_to_epics(value), alarm.NO_ALARM, alarm.NO_ALARM  # noqa: SLF001
        else:
            record.set(value, process=False)
            dbCore.db_post_events(address, None, _DBE_VALUE | _DBE_LOG)


def refuse_put(record: Any, reason: str) -> None:
    """Give an output record that is being processed an alarm, and a put that waits for its end an error."""
    with _locked(record):
        fields = record._record  # noqa: SLF001
        fields.NSEV, fields.NSTA = alarm.MINOR_ALARM, alarm.WRITE_ALARM
        fields.NAMSG = reason.encode()[:_AMSG_BYTES].decode(errors="ignore")
        if fields.PPN:
            ctypes.cast(fields.PPN, ctypes.POINTER(_ProcessNotify)).contents.status = _NOTIFY_ERROR


@contextmanager
def _locked(record: Any) -> Generator[ctypes.c_void_p]:
    """Lock a record and give its address."""
    address = record._record.record  # noqa: SLF001
    dbCore.dbScanLock(address)
    try:
        yield address
    finally:
        dbCore.dbScanUnlock(address)


def set_up() -> None:
    """Set what EPICS reads when it starts."""
    # As root EPICS locks all memory, present and future: mapping a pebble would take seconds.
    ctypes.c_int.in_dll(dbCore, "dbThreadRealtimeLock").value = 0
    # Clients are known by their address, not by the name that they give themselves.
    ctypes.c_int.in_dll(Com, "asCheckClientIP").value = 1


def run_iocsh(line: str) -> None:
    """Run one command of EPICS's shell, which prints what it says."""
    Com.iocshCmd(line.strip().encode())


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
