"""Packet header layouts: a table, not code.

Every layout names the same fields; only their places and types differ. Sources: slsDetectorPackage's
``sls_detector_header`` (version 2) and sf_daq_buffer's ``jungfrau.hpp``, which reads the bunch id as a double.
"""

from typing import Final, Literal, TypeAlias

import numpy as np

from detectors.geometry import HEADER_NAMES


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


HEADERS: Final = {"jungfrau": _sls("f8"), "sls": _sls("u8"), "sls-big-endian": _sls("u8", ">")}
"""A double ``bunchid`` can be NaN, infinite or negative."""
assert all(dtype.itemsize == 48 for dtype in HEADERS.values())
assert tuple(HEADERS) == HEADER_NAMES

PulseFrom: TypeAlias = Literal["bunchid", "framenum", "timestamp"]
"""The field of a header that pulse ids come from."""
