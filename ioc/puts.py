"""The log of puts: who put what, from which host.

EPICS reports each put that an access rule marks with TRAPWRITE, before and after, in the thread that puts. A setpoint
logs its own puts, since only it knows the value as the program takes it, and asks here who puts.
"""

import ctypes
import itertools
import logging
import re
import threading
from typing import Any, Final

from epicscorelibs.ioc import Com
from softioc import fields, imports

log = logging.getLogger(__name__)

_STRING_BYTES: Final = 40

_CHANNEL: Final = re.compile(r"([^.]*)(?:\.([A-Z0-9]+))?")
"""Record and field of a channel's name, to which clients may add ``$`` and filters in braces."""


class _Message(ctypes.Structure):
    """``asTrapWriteMessage`` in asTrapWrite.h."""

    _fields_ = (
        ("user", ctypes.c_char_p),
        ("host", ctypes.c_char_p),
        ("channel", ctypes.POINTER(ctypes.c_char_p)),  # dbChannel, which begins with its name
        ("private", ctypes.c_void_p),
        ("kind", ctypes.c_int),
        ("count", ctypes.c_int),
        ("data", ctypes.c_void_p),
    )


class PutLog:
    """Log every put from now on. Make one per process."""

    def __init__(self) -> None:
        # By thread: Python's own thread-local data ends with each call from a thread of EPICS.
        self._present: dict[int, tuple[str, str]] = {}
        self._numbers = itertools.count(1)
        self._before: dict[int, str] = {}
        self._listener = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Message), ctypes.c_int)(self._heard)
        Com.asTrapWriteRegisterListener(self._listener)

    def putter(self, record: str) -> str:
        """Return user and host of the put that the calling thread does to the value of ``record``."""
        name, who = self._present.get(threading.get_ident(), ("", ""))
        return who if name == record else "a client that waited"

    def _heard(self, pointer: Any, after: int) -> None:
        message = pointer.contents
        channel = message.channel.contents.value.decode()
        who = f"{(message.user or b'?').decode(errors='replace')}@{(message.host or b'?').decode(errors='replace')}"
        record, field = _CHANNEL.match(channel).groups("VAL")  # type: ignore[union-attr]
        if field == "VAL":
            self._present[threading.get_ident()] = ("", "") if after else (record, who)
        elif not after:
            message.private = next(self._numbers)
            self._before[message.private] = _text(record, field)
        else:
            log.info(
                "%s.%s: %s -> %s by %s",
                record,
                field,
                self._before.pop(message.private, "?"),
                _text(record, field),
                who,
            )


def _text(record: str, field: str) -> str:
    value = ctypes.create_string_buffer(_STRING_BYTES)
    imports.db_get_field(f"{record}.{field}", fields.DBF_STRING, ctypes.addressof(value), 1)  # pyright: ignore[reportAttributeAccessIssue]
    return value.value.decode(errors="replace")
