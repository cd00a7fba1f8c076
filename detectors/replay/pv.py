"""Replay as an NTNDArray PV: each image as its source had posted it, with its uniqueId and time stamp."""

import threading
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from p4p import Value
from p4p.nt import NTNDArray
from p4p.server import Server
from p4p.server.raw import SharedPV

from detectors.buffer.image import Image
from detectors.buffer.reader import BufferReader
from detectors.errors import HostError
from detectors.wire.ntndarray_fields import MEMBERS, dimensions, time_stamp

WAIT_S: Final = 30.0
"""How long to wait for a monitor, s."""

_TYPE: Final = NTNDArray.buildType()


class PvTarget:
    """Serves one PV. ``conf`` holds EPICS_PVAS_* for the server; None: those of the environment.

    Raises HostError when it cannot be served.
    """

    def __init__(
        self, reader: BufferReader, name: str, conf: Mapping[str, str] | None = None, wait_s: float = WAIT_S
    ) -> None:
        self._name = name
        self._wait_s = wait_s
        self._member = MEMBERS[reader.info.layout.pixel_type.name]
        self._connected = threading.Event()
        self._pv = SharedPV(handler=SimpleNamespace(onFirstConnect=self._connect), initial=Value(_TYPE, {}))
        try:
            self._server = Server([{name: self._pv}], conf=dict(conf) if conf else None, useenv=conf is None)
        except RuntimeError as error:
            raise HostError(f"{name}: cannot serve PVA: {error}; choose other ports or interfaces") from None

    @property
    def client_conf(self) -> dict[str, str]:
        """EPICS_PVA_* with which a client finds this server."""
        return {k: v for k, v in self._server.conf().items() if k.startswith("EPICS_PVA_")}

    def _connect(self, _: SharedPV) -> None:
        self._connected.set()

    def ready(self) -> None:
        """Wait for a monitor: it would not see what is posted before it connects."""
        if not self._connected.wait(self._wait_s):
            raise HostError(f"{self._name}: found no client within {self._wait_s:g} s; start it and try again")

    def send(self, image: Image, period_s: float) -> int:  # noqa: ARG002
        """Post one image. A monitor that cannot keep up loses images, as it would of the source."""
        first = next(frame.head for frame in image.frames if frame)
        stamp = time_stamp(first.timestamp_ns or time.time_ns())
        pixels = np.ascontiguousarray(image.data).reshape(-1)
        value: Any = Value(
            _TYPE,
            {
                "value": (self._member, pixels),
                "compressedSize": pixels.nbytes,
                "uncompressedSize": pixels.nbytes,
                # int32 on PVA; it wraps.
                "uniqueId": (first.frame_index + 2**31) % 2**32 - 2**31,
                "timeStamp": stamp,
                "dataTimeStamp": stamp,
                "dimension": dimensions(image.data.shape),
            },
        )
        self._pv.post(value)
        return 1

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()
