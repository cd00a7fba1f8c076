"""What is run: sources, rates and buffers, and the configuration that follows. Pure."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detectors.config import Config, parse_config
from detectors.geometry import GEOMETRIES

GEOMETRY: Final = GEOMETRIES["jungfrau"]
CAMERA: Final = "CAM"
CAMERA_DTYPE: Final = "uint16"
FIRST_PULSE: Final = 12_345_000
"""Any; it is the first of a data file."""

_CAMERA_RX_COUNT: Final = 16
_MODULE_RX_COUNT: Final = 64
_FLUSH_S: Final = 1.0
_MATCH_TMO_MS: Final = 5000
"""The simulators share the machine with what they test: on a busy one they pause for longer than a detector does."""
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Setup:
    """The sources. The camera takes every ``pulses_per_image``-th pulse, the modules take all."""

    modules: int
    """Number of UDP modules."""
    pulse_rate_hz: float
    camera_shape: tuple[int, int]
    pulses_per_image: int

    @property
    def module_names(self) -> tuple[str, ...]:
        """Names of the UDP modules."""
        return tuple(f"M{i:02}" for i in range(self.modules))

    @property
    def camera_rate_hz(self) -> float:
        """Images a second."""
        return self.pulse_rate_hz / self.pulses_per_image

    @property
    def image_bytes(self) -> int:
        """Size of the camera's image."""
        return math.prod(self.camera_shape) * 2

    @property
    def bytes_per_s(self) -> float:
        """Data written in a second."""
        return self.pulse_rate_hz * self.modules * GEOMETRY.frame_bytes + self.camera_rate_hz * self.image_bytes

    def time_ns(self, pulse_id: int, epoch_ns: int) -> int:
        """Return the POSIX time of a pulse, ns."""
        return epoch_ns + (pulse_id - FIRST_PULSE) * round(1e9 / self.pulse_rate_hz)


@dataclass(frozen=True, slots=True)
class Place:
    """Where it runs: names and ports of its own."""

    prefix: str
    data: Path
    module_ports: tuple[int, ...]
    timing_port: int

    @property
    def camera_pv(self) -> str:
        """The camera's PV."""
        return f"{self.prefix}SIM:image"


def config_text(setup: Setup, place: Place) -> str:
    """Return the configuration file."""
    modules = "".join(
        f'\n[[udp]]\nname = "{name}"\nexpect_module_id = {i}\nport = {port}\naddress = "127.0.0.1"\n'
        f"flush_timeout_s = {_FLUSH_S}\n"
        for i, (name, port) in enumerate(zip(setup.module_names, place.module_ports, strict=True))
    )
    # Events wait in the pebble's slots, 32 of them, when the camera is away; more would overrun the ring.
    match_tmo_ms = min(_MATCH_TMO_MS, round(1000 * 2 * _CAMERA_RX_COUNT / setup.camera_rate_hz))
    # The ring of the camera holds two images.
    buffer_mib = max(1, math.ceil(2 * setup.image_bytes / _CAMERA_RX_COUNT / _MIB))
    return f"""\
# Written by bench.soak.

[detector]
name = "SOAK"
prefix = "{place.prefix}"

[run]
autostart = false

[ioc]
autosave = false

[timing]
port = {place.timing_port}

[dma]
cfgRxCount = {_MODULE_RX_COUNT}
cfgSize = "1 MiB"
{modules}
[[pva]]
name = "{CAMERA}"
pv = "{place.camera_pv}"
dtype = "{CAMERA_DTYPE}"
shape = [{setup.camera_shape[0]}, {setup.camera_shape[1]}]
match_tmo_ms = {match_tmo_ms}

[pva.dma]
cfgRxCount = {_CAMERA_RX_COUNT}
cfgSize = "{buffer_mib} MiB"

[disk]
folder = "{place.data}"
min_free = "256 MiB"
"""


def config(setup: Setup, place: Place) -> Config:
    """Return the configuration, checked."""
    return parse_config(config_text(setup, place), "soak")
