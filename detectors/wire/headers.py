"""Packet header layouts: a table, not code.

Every layout names the same fields; only their places and types differ. Sources: slsDetectorPackage's
``sls_detector_header`` (version 2) and sf_daq_buffer's ``jungfrau.hpp``, which reads the bunch id as a double.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.geometry import HEADER_NAMES


@dataclass(frozen=True, slots=True)
class HeaderLayout:
    """One packet header. Every layout has the fields framenum, packetnum, bunchid, timestamp, moduleID and debug."""

    name: str
    dtype: np.dtype

    @property
    def pulse_is_float(self) -> bool:
        """Whether ``bunchid`` is a double, which can be NaN, infinite or negative."""
        return self.dtype["bunchid"].kind == "f"


def _sls(bunchid: str, order: str = "<") -> np.dtype:
    return np.dtype(
        [
            ("framenum", f"{order}u8"),
            ("exptime", f"{order}u4"),
            ("packetnum", f"{order}u4"),
            ("bunchid", f"{order}{bunchid}"),
            ("timestamp", f"{order}u8"),
            ("moduleID", f"{order}u2"),
            ("xCoord", f"{order}u2"),
            ("yCoord", f"{order}u2"),
            ("zCoord", f"{order}u2"),
            ("debug", f"{order}u4"),
            ("roundRobin", f"{order}u2"),
            ("detectortype", "u1"),
            ("headerVersion", "u1"),
        ]
    )


HEADERS: Final = {
    h.name: h
    for h in (
        HeaderLayout("jungfrau", _sls("f8")),
        HeaderLayout("sls", _sls("u8")),
        HeaderLayout("sls-big-endian", _sls("u8", ">")),
    )
}
assert all(h.dtype.itemsize == 48 for h in HEADERS.values())
assert tuple(HEADERS) == HEADER_NAMES
