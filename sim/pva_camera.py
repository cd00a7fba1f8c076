"""A simulated camera on PVA: an NTNDArray of the pattern, served by p4p as areaDetector's NDPluginPva serves it."""

import ctypes
import dataclasses
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from p4p import Value
from p4p.nt import NTNDArray
from p4p.server import Server
from p4p.server.raw import SharedPV

from detectors.errors import HostError
from detectors.wire.encode import SCALAR_TYPES, encode
from detectors.wire.ntndarray_fields import MEMBERS
from sim.clock import Schedule, Stop, events
from sim.pattern import fill_pattern

_TYPE: Final = NTNDArray.buildType()

_MALLOPT: Final = {-4: 0, -8: 1, -1: 2**31 - 1, -2: 400 << 20}
"""glibc's M_MMAP_MAX, M_ARENA_MAX, M_TRIM_THRESHOLD and M_TOP_PAD: keep freed images for the next one."""


def keep_freed_memory() -> None:
    """Tell the allocator to keep what is freed: else each large image is paid for in page faults, twice its cost."""
    libc = ctypes.CDLL(None)
    for option, value in _MALLOPT.items():
        libc.mallopt(option, value)


@dataclass(slots=True)
class CameraReport:
    """What a camera posted."""

    images: int = 0
    bytes: int = 0
    first_pulse: int = 0
    last_pulse: int = 0
    first_unique_id: int = 0
    last_unique_id: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return it for JSON."""
        return dataclasses.asdict(self)


class PvaCamera:
    """Serves one PV. Event n of the schedule is the image of its pulse, stamped with exactly its time.

    ``uniqueId`` counts images: ``schedule.first_pulse + n`` in 32 bits; with ``count_afresh`` those of this process from
    1, as a camera's does that was restarted. Until the first image the PV holds none, as a
    camera's does that has not acquired yet. ``codec`` is empty or one of ``wire.encode.ENCODERS``. ``interface`` and the
    ports (0: any free one) hold unless ``environment``: then EPICS_PVAS_* decide.
    Raises HostError when the ports cannot be had.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        schedule: Schedule,
        *,
        module_id: int = 0,
        codec: str = "",
        count_afresh: bool = False,
        environment: bool = False,
        interface: str = "127.0.0.1",
        server_port: int = 0,
        broadcast_port: int = 0,
    ) -> None:
        self.name = name
        self.schedule = schedule
        self.module_id = module_id
        self.codec = codec
        self.count_afresh = count_afresh
        self.report = CameraReport()
        self._pv = SharedPV(initial=Value(_TYPE, {}))
        self._configure(shape, dtype)
        conf = {
            "EPICS_PVAS_INTF_ADDR_LIST": interface,
            "EPICS_PVAS_SERVER_PORT": str(server_port),
            "EPICS_PVAS_BROADCAST_PORT": str(broadcast_port),
            "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_PVAS_BEACON_ADDR_LIST": interface,
        }
        try:
            self._server = Server([{name: self._pv}], conf=None if environment else conf, useenv=environment)
        except RuntimeError as error:
            raise HostError(f"{name}: cannot serve PVA: {error}; choose other ports or interfaces") from None

    @property
    def client_conf(self) -> dict[str, str]:
        """EPICS_PVA_* with which a client finds this server."""
        return {k: v for k, v in self._server.conf().items() if k.startswith("EPICS_PVA_")}

    def post(self, n: int) -> None:
        """Post the image of event n."""
        pulse_id, time_ns = self.schedule.pulse_id(n), self.schedule.time_ns(n)
        count = self.report.images + 1 if self.count_afresh else self.schedule.first_pulse + n
        unique_id = (count + 2**31) % 2**32 - 2**31
        fill_pattern(self._image, pulse_id, self.module_id)
        data = encode(self.codec, self._image) if self.codec else self._image.reshape(-1)
        value = self._value
        # Assigning the array makes the one copy of it that subscribers share; the image can be reused at once.
        value.value = (self._member, data)
        value.compressedSize, value.uncompressedSize = data.nbytes, self._image.nbytes
        value.uniqueId = unique_id
        stamp = {"secondsPastEpoch": time_ns // 10**9, "nanoseconds": time_ns % 10**9}
        value.timeStamp = stamp
        value.dataTimeStamp = stamp
        self._pv.post(value)
        value.unmark()  # the next update carries only what changes
        r = self.report
        if not r.images:
            r.first_pulse, r.first_unique_id = pulse_id, unique_id
        r.last_pulse, r.last_unique_id = pulse_id, unique_id
        r.images += 1
        r.bytes += self._image.nbytes

    def show_old_image(self) -> None:
        """Post the image of event -1, as one that stands there from before; the report leaves it out."""
        self.post(-1)
        self.report = CameraReport()

    def run(self, stop: Stop, *, frames: int | None = None, seconds: float | None = None) -> CameraReport:
        """Post images by the schedule until ``frames`` are posted, ``seconds`` are over, or the stop."""
        for n in events(self.schedule, stop, count=frames, seconds=seconds):
            self.post(n)
        return self.report

    def restart(self, shape: tuple[int, ...], dtype: str) -> None:
        """Disconnect every client, and serve images of another shape or type, as a camera that was restarted.

        Without a shared epoch, uniqueId restarts, too.
        """
        self._pv.close(destroy=True)
        self._configure(shape, dtype)
        self._pv.open(Value(_TYPE, {}))
        self.schedule = self.schedule.begun()

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()

    def _configure(self, shape: tuple[int, ...], dtype: str) -> None:
        self._image = np.zeros(shape, np.dtype(dtype))
        self._member = "ubyteValue" if self.codec else MEMBERS[dtype]
        self._value: Any = Value(
            _TYPE,
            {
                "dimension": [{"size": n, "fullSize": n, "binning": 1} for n in reversed(shape)],
                "attribute": [
                    {
                        "name": "ColorMode",
                        "value": _color_mode(shape),
                        "descriptor": "Color mode",
                        "sourceType": 0,
                    }
                ],
            },
        )
        if self.codec:
            self._value.codec = {"name": self.codec, "parameters": SCALAR_TYPES[dtype]}


def _color_mode(shape: tuple[int, ...]) -> int:
    """Return areaDetector's NDColorMode: which of three dimensions is the 3 of RGB, the last first."""
    if len(shape) != 3 or 3 not in shape:
        return 0
    return {2: 2, 1: 3, 0: 4}[2 - shape[::-1].index(3)]
