"""A record that shows what we write into it: one of EPICS's own, whose fields we fill in and which we process at once.

softioc's input records come back to Python from a thread of EPICS for every value, which takes ten times as long.
"""

import ctypes
from typing import Any, Final

from epicscorelibs.ioc import dbCore
from softioc import alarm

from ioc import epics
from ioc.bindings import StaticRecord

_VALUES: Final[dict[str, Any]] = {
    "ai": ctypes.c_double,
    "bi": ctypes.c_uint16,
    "mbbi": ctypes.c_uint16,
    "longin": ctypes.c_int32,
    "int64in": ctypes.c_int64,
    "stringin": ctypes.c_char * 40,
}
"""Types of the field VAL by record type; a waveform has a pointer to its values instead."""


class InputRecord:
    """Made after the record is loaded; to be set when EPICS has started."""

    def __init__(self, record: StaticRecord) -> None:
        address, offsets = epics.address(record.name), epics.field_offsets(record.kind)

        def field(kind: Any, name: str) -> Any:
            return kind.from_address(address + offsets[name])

        self._address = ctypes.c_void_p(address)
        self._is_array = record.kind == "waveform"
        if self._is_array:
            self._pointer, self._length = field(ctypes.c_void_p, "BPTR"), field(ctypes.c_uint32, "NORD")
        else:
            self._value = field(_VALUES[record.kind], "VAL")
        self._undefined = field(ctypes.c_uint8, "UDF")
        self._new_severity, self._new_status = field(ctypes.c_uint16, "NSEV"), field(ctypes.c_uint16, "NSTA")
        self._severity = field(ctypes.c_uint16, "SEVR")
        self._time = field(ctypes.c_uint32 * 2, "TIME")

    @property
    def severity(self) -> int:
        """Alarm severity that the record has now, from its own limits too."""
        return self._severity.value

    def set(self, value: Any, severity: int = alarm.NO_ALARM, status: int = 0, time_ns: int = 0) -> None:
        """Publish a value, that of a waveform as an array of its type; ``severity`` is the least that it has.

        ``time_ns`` is for records with TSE -2.
        """
        dbCore.dbScanLock(self._address)
        try:
            if self._is_array:
                ctypes.memmove(self._pointer.value, value.ctypes.data, value.nbytes)
                self._length.value = value.size
            else:
                self._value.value = value
            self._undefined.value = 0
            if severity:
                self._new_severity.value, self._new_status.value = severity, status
            if time_ns:
                self._time[:] = epics.timestamp(time_ns)
            dbCore.dbProcess(self._address)
        finally:
            dbCore.dbScanUnlock(self._address)
