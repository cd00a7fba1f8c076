"""The demo's rates and buffers, which this machine can bear, and its configuration. Pure."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detectors.config import parse_config
from detectors.errors import HostError
from detectors.frame import RecordShape
from detectors.geometry import GEOMETRIES

MODULES: Final = ("M00", "M01")
CAMERA: Final = "CAM"
CAMERA_SHAPE: Final = (2048, 2048)
CAMERA_DTYPE: Final = "uint16"
GEOMETRY: Final = GEOMETRIES["jungfrau"]

MODULE_RATE_HZ: Final = 100.0
PULSES_PER_IMAGE: Final = 10
"""The camera takes every so many pulses; the modules take all."""

FIRST_PULSE: Final = 12_345_000
"""Any; it is the first of a data file, and its place is the documents' own example."""

CAMERA_BYTES: Final = math.prod(CAMERA_SHAPE) * 2
DISK_RESERVE: Final = 1 << 30
"""Free space that the demo leaves on the disk, bytes."""

ROLLING_S: Final = 30.0
"""Without an end this much data is kept, s; older files are removed."""

_PACKET_COST: Final = 16_600
"""Socket buffer that one queued packet takes, bytes; the kernel grants twice what it names."""
_STALL_S: Final = 0.03
"""A receiver may wait for so long on a busy machine; its socket buffer must hold the packets meanwhile."""
_SMALL_RATE_HZ: Final = 1.0

_RX_COUNTS: Final = ((64, 16), (32, 8), (16, 8), (8, 8))
"""cfgRxCount of the modules and of the camera, the best first; each buffer is 1 MiB and each pebble twice as many."""


@dataclass(frozen=True, slots=True)
class DemoHost:
    """Resources of the machine, bytes."""

    disk: int
    """Free where the data goes."""
    shared_memory: int
    """Free in /dev/shm."""
    memory: int
    """Available."""
    receive_buffer: int
    """What the kernel grants a socket that asks for 64 MiB."""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """Rates and buffers of a demo."""

    module_rate_hz: float
    module_rx_count: int
    camera_rx_count: int
    burst: int
    """Packets that a module sends at once."""
    notes: tuple[str, ...] = ()
    """Rates and buffers that were lowered, the reasons, and remedies."""

    @property
    def camera_rate_hz(self) -> float:
        """Images a second."""
        return self.module_rate_hz / PULSES_PER_IMAGE

    @property
    def bytes_per_s(self) -> float:
        """Data written to disk in a second."""
        return self.module_rate_hz * _bytes_per_pulse()


def _bytes_per_pulse() -> float:
    module = RecordShape(GEOMETRY.frame_bytes).record_bytes
    return len(MODULES) * module + RecordShape(CAMERA_BYTES).record_bytes / PULSES_PER_IMAGE


def make_plan(machine: DemoHost, seconds: float | None) -> DemoPlan:
    """Return the plan for so many seconds; None: until it is stopped.

    Raises HostError when the machine has too little for any demo.
    """
    rate, notes = MODULE_RATE_HZ, list[str]()
    kept_s = ROLLING_S if seconds is None else seconds
    needed = kept_s * rate * _bytes_per_pulse()
    free = machine.disk - DISK_RESERVE
    if needed > free:
        rate = rate * max(0, free) / needed
        if rate < _SMALL_RATE_HZ:
            raise HostError(
                f"disk: found {machine.disk / 1e9:.1f} GB free, expected {DISK_RESERVE / 1e9:.1f} GB and at least "
                f"{_SMALL_RATE_HZ * needed / MODULE_RATE_HZ / 1e9:.1f} GB for {kept_s:g} s; "
                "free some, give fewer --seconds, or an --output elsewhere"
            )
        notes.append(f"rates lowered: {needed / 1e9:.1f} GB would be written, {free / 1e9:.1f} GB can be")
    packets = 2 * machine.receive_buffer // _PACKET_COST
    bridged = packets / GEOMETRY.packets_per_frame / _STALL_S
    if bridged < rate:
        rate = max(_SMALL_RATE_HZ, bridged)
        notes.append(
            f"rates lowered: the kernel gives a socket {machine.receive_buffer} bytes, {packets} packets; "
            "for the full rate: sudo sysctl -w net.core.rmem_max=67108864"
        )
    modules, camera = _rx_counts(machine)
    if (modules, camera) != _RX_COUNTS[0]:
        notes.append(
            f"small pools: {machine.shared_memory >> 20} MiB in /dev/shm, {machine.memory >> 20} MiB of memory"
        )
    return DemoPlan(
        module_rate_hz=rate if rate < _SMALL_RATE_HZ else math.floor(rate),
        module_rx_count=modules,
        camera_rx_count=camera,
        burst=max(1, min(32, packets // 4)),
        notes=tuple(notes),
    )


def _rx_counts(machine: DemoHost) -> tuple[int, int]:
    for modules, camera in _RX_COUNTS:
        shared = 2 * modules * len(MODULES) * RecordShape(GEOMETRY.frame_bytes).span_bytes
        shared += 2 * camera * RecordShape(CAMERA_BYTES).span_bytes
        transition = 2 * camera * CAMERA_BYTES
        if shared < 0.8 * machine.shared_memory and shared + transition < 0.5 * machine.memory:
            return modules, camera
    raise HostError(
        f"memory: found {machine.shared_memory >> 20} MiB in /dev/shm and {machine.memory >> 20} MiB available, "
        "expected 256 MiB and 1 GiB; free some, or mount a larger /dev/shm"
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demo runs: names and ports of its own."""

    prefix: str
    camera_pv: str
    data: Path
    module_ports: tuple[int, ...]
    timing_port: int
    web_port: int | None
    """Port of the page in the browser; None: the packages that it needs are not installed."""


def config_text(plan: DemoPlan, place: Place) -> str:
    """Return the text of the configuration file."""
    modules = "".join(
        f'\n[[udp]]\nname = "{name}"\nexpect_module_id = {i}\nport = {port}\naddress = "127.0.0.1"\n'
        "flush_timeout_s = 1.0  # a laptop may be busy with something else for a moment\n"
        for i, (name, port) in enumerate(zip(MODULES, place.module_ports, strict=True))
    )
    text = f"""\
# Written by `pebbledaq demo`.

[detector]
name = "DEMO"
prefix = "{place.prefix}"

[run]
autostart = false

[ioc]
autosave = false

[timing]
port = {place.timing_port}

[dma]
cfgRxCount = {plan.module_rx_count}
cfgSize = "1 MiB"
{modules}
[[pva]]
name = "{CAMERA}"
pv = "{place.camera_pv}"
dtype = "{CAMERA_DTYPE}"
shape = [{CAMERA_SHAPE[0]}, {CAMERA_SHAPE[1]}]

[pva.dma]
cfgRxCount = {plan.camera_rx_count}
cfgSize = "1 MiB"

[disk]
folder = "{place.data}"
min_free = "256 MiB"
"""
    if place.web_port is not None:
        text += f"\n[web]\nport = {place.web_port}\n"
    parse_config(text, "demo")
    return text
