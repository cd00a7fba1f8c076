"""How many buffers of which size a source gets, and why. Pure; memory is checked in ``detectors.pools.host_memory``.

The rules, after the buffer allocation of LCLS-II's PvDetector:

1. The DMA ring is ``cfgRxCount * cfgSize`` and holds at least one whole image, or the DMA engine would overrun.
2. ``pebbleBufCount`` is the next power of two strictly above ``cfgRxCount``; given by hand, some power of two above it.
3. ``pebbleBufSize`` is one record and its alignment room in whole pages; given by hand, at least that.
4. Transition buffers are tied 1:1 to the pebble, each as large as the payload; the configuration refuses both settings.
5. Slots begin on pages, with room for a sentinel.
6. The sum is compared with what the host has before anything is allocated.
7. Sizes are shown in binary units: 128 x 84 MiB is 10.5 GiB.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.config import Config, PvaSection, SourceSection, UdpSection
from detectors.errors import SizingError
from detectors.frame import RECORD_HEADER, RecordShape
from detectors.pools.buffer_pool import slot_bytes
from detectors.pools.datadev import DriverRing
from detectors.pools.region import PAGE, round_to_page
from detectors.pools.segment import SLOT_ENTRY, least_slot_bytes

UNKNOWN: Final = "unknown until the PV is connected; give its dtype and shape to plan it now"

PROCESS_BYTES: Final = 56 << 20
"""Memory of a worker's process beside its buffers: interpreter and libraries, bytes.

Measured on Python 3.11, VmRSS less the buffers: 56.3 and 56.5 MiB for monitors of 16 MiB images with 16 and 64 slots and the
direct client, 57 MiB for a receiver. p4p's client keeps about five images more in its own memory.
"""


@dataclass(frozen=True, slots=True)
class BufferSize:
    """One kind of buffers. ``size_bytes`` is 0 while the payload is unknown."""

    count: int
    size_bytes: int
    memory_bytes: int
    """What it takes in memory: slots in whole pages, and for the pebble its slot table; 0 when it is not made."""
    component: str
    """Its owner."""
    set_by: str
    """The settings that determine it."""
    why: str
    """The reason for each number."""
    notes: str = ""
    in_process: bool = True
    """Whether it is memory of the worker's process; a socket buffer and a card's ring are the kernel's."""

    @property
    def total_bytes(self) -> int:
        """Bytes of all buffers; 0 while the payload is unknown."""
        return self.count * self.size_bytes


@dataclass(frozen=True, slots=True)
class BufferPlan:
    """All buffers of one source."""

    source: str
    dma: BufferSize
    pebble: BufferSize
    transition: BufferSize | None
    """None for a UDP module: its packets are received into the pebble."""
    payload_bytes: int | None
    """Data of one frame; None when it shows only on connect."""
    record_shape: RecordShape
    """Of the payload; of 0 bytes while that is unknown."""

    @property
    def memory_bytes(self) -> int:
        """Memory taken in all."""
        return self.dma.memory_bytes + self.memory_at(self.pebble.count)[0]

    @property
    def resident_bytes(self) -> int:
        """What the worker's process holds in memory, shared memory and the process itself included."""
        return self.memory_bytes + PROCESS_BYTES - (0 if self.dma.in_process else self.dma.memory_bytes)

    def memory_at(self, count: int) -> tuple[int, int]:
        """Return the memory of pebble and transition pool, and the part in ``/dev/shm``, if there were ``count`` slots."""
        shared = _pebble_memory(count, self.pebble.size_bytes)
        staged = self.transition.memory_bytes // self.transition.count if self.transition else 0
        return shared + count * staged, shared


def size_text(nbytes: int) -> str:
    """Return a size in binary units as people write it: ``84 MiB``, ``10.5 GiB``, ``1.01 MiB``."""
    value, unit = float(nbytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    digits = 0 if unit == "B" or value >= 1000 else 1 if value >= 10 else 2
    text = f"{value:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"


def next_power_of_two(above: int) -> int:
    """Return the least power of two strictly above a number: 80 -> 128, 128 -> 256."""
    return 1 << above.bit_length()


def declared_payload(source: SourceSection) -> int | None:
    """Return the bytes of one frame as the configuration gives them; None when it does not.

    A PVA source's frame is that of all its PVs together.
    """
    if isinstance(source, UdpSection):
        return source.geometry.frame_bytes
    if isinstance(source, PvaSection) and source.dtype and source.shape:
        return math.prod(source.shape) * np.dtype(source.dtype).itemsize * len(source.pv)
    return None


def plan_buffers(
    config: Config, source: SourceSection, *, payload_bytes: int | None = None, driver: DriverRing | None = None
) -> BufferPlan:
    """Return the buffers of one source of a configuration.

    ``payload_bytes`` overrides what the configuration says. ``driver`` is the ring of a DMA card, which then replaces a
    PVA source's cfgRxCount and cfgSize. Without [timing] a PVA source has nothing to put into its ring, and none is made;
    the other numbers follow from it all the same. Raises SizingError with every rule that is broken, one line each.
    """
    payload = declared_payload(source) if payload_bytes is None else payload_bytes
    pools = config.pools_of(source)
    problems: list[str] = []
    ring = _dma(config, source, driver)
    if payload is not None and payload < 1:
        problems.append(f"payload: found {payload} bytes, expected an image of at least 1")
    elif payload is not None and ring.total_bytes < payload:
        problems.append(
            f"dma: {ring.count} x {size_text(ring.size_bytes)} = {size_text(ring.total_bytes)} does not hold one image of "
            f"{payload:,} bytes: the DMA engine would overrun; raise cfgRxCount to at least "
            f"{-(-payload // ring.size_bytes)}, or cfgSize"
        )
    count, count_why = _pebble_count(ring.count, pools.pebble_buf_count, problems)
    shape = RecordShape(max(payload or 0, 0))
    slot, slot_why, rounding = _pebble_slot(shape, payload, pools.pebble_buf_size, problems)
    if problems:
        raise SizingError(*(f"{source.name}: {problem}" for problem in problems))
    pebble = BufferSize(
        count=count,
        size_bytes=slot,
        memory_bytes=_pebble_memory(count, slot),
        component="Pebble, shared memory",
        set_by="pebbleBufCount and pebbleBufSize",
        why=f"{count_why}; {slot_why}{rounding and f', {rounding} to whole pages'}",
        notes=f"Full datagrams: image and metadata.{rounding and f' Size {rounding}: slots begin on pages.'}",
    )
    transition = None if isinstance(source, UdpSection) else _transition(count, payload, checked=pools.checked)
    return BufferPlan(source.name, ring, pebble, transition, payload, shape)


def plan_all(
    config: Config, *, payloads: Mapping[str, int | None] | None = None, driver: DriverRing | None = None
) -> dict[str, BufferPlan]:
    """Return the buffers of every source by its name; ``payloads`` are those known otherwise, by name.

    Raises SizingError with every rule that is broken in any source, one line each.
    """
    plans: dict[str, BufferPlan] = {}
    problems: list[str] = []
    for source in (*config.udp, *config.pva):
        payload = (payloads or {}).get(source.name)
        try:
            plans[source.name] = plan_buffers(config, source, payload_bytes=payload, driver=driver)
        except SizingError as error:
            problems += error.problems
    if problems:
        raise SizingError(*problems)
    return plans


def _dma(config: Config, source: SourceSection, driver: DriverRing | None) -> BufferSize:
    is_udp = isinstance(source, UdpSection)
    notes = "Ring buffer; must hold the entire image (no overrun)."
    if driver is not None and not is_udp:
        count, size, component, set_by = driver.count, driver.size, "PGP kernel driver", driver.path
        memory = count * size
        why = f"{count} and {size_text(size)}: cfgRxCount and cfgSize of the card, from {set_by}"
    else:
        dma = config.dma_of(source)
        count, size = dma.cfg_rx_count, int(dma.cfg_size)
        component = "Socket buffer, kernel" if is_udp else "DMA ring, simulated"
        set_by = "cfgRxCount and cfgSize"
        memory = count * (size if is_udp else slot_bytes(size, checked=config.pools_of(source).checked))
        why = f"{count}: cfgRxCount; {size_text(size)}: cfgSize"
    if not is_udp and config.timing is None:
        memory = 0
        notes += " Takes no memory: there is no timing stream."
    return BufferSize(count, size, memory, component, set_by, why, notes, in_process=not is_udp and driver is None)


def _pebble_count(rx_count: int, given: int | None, problems: list[str]) -> tuple[int, str]:
    least = next_power_of_two(rx_count)
    if given is None:
        return least, f"{least}: next power of two above cfgRxCount = {rx_count}"
    if given < 1 or given & (given - 1):
        problems.append(
            f"pebbleBufCount: found {given}, expected a power of two, or slots could not be found by pulse; "
            f"give {max(least, next_power_of_two(max(given, 0)))}, or leave it out for {least}"
        )
    elif given <= rx_count:
        problems.append(
            f"pebbleBufCount: found {given}, expected more than cfgRxCount = {rx_count}, or indices would overflow; "
            f"give at least {least}, or leave it out"
        )
    return given, f"{given}: pebbleBufCount as given, a power of two above cfgRxCount = {rx_count}"


def _pebble_slot(
    shape: RecordShape, payload_bytes: int | None, given: int | None, problems: list[str]
) -> tuple[int, str, str]:
    """Return the bytes of a slot, the reason, and ``rounded up from ... bytes`` if it was."""
    needed = least_slot_bytes(shape)
    if given is None and payload_bytes is None:
        return 0, f"size {UNKNOWN}", ""
    if given is None:
        reason = (
            f"{needed:,} bytes: {RECORD_HEADER.itemsize} + {payload_bytes:,} of record, up to {shape.align - 1:,} of "
            f"alignment and 4 of sentinel, in whole pages"
        )
        return needed, reason, ""
    rounded = round_to_page(given)
    if payload_bytes is not None and rounded < needed:
        problems.append(
            f"pebbleBufSize: found {given:,} bytes, expected at least {needed:,}: "
            f"{payload_bytes:,} of payload, its header, alignment and sentinel in whole pages; raise it or leave it out"
        )
    reason = f"{size_text(rounded)}: pebbleBufSize as given"
    if payload_bytes is not None:
        reason += f", where a record needs {size_text(needed)}"
    return rounded, reason, f"rounded up from {given:,} bytes" if rounded != given else ""


def _pebble_memory(count: int, slot: int) -> int:
    """Return the bytes of the segment: header page, slot table and slots."""
    return PAGE + round_to_page(count * SLOT_ENTRY.itemsize) + count * slot if slot else 0


def _transition(count: int, payload_bytes: int | None, *, checked: bool) -> BufferSize:
    size = payload_bytes or 0
    return BufferSize(
        count=count,
        size_bytes=size,
        memory_bytes=count * slot_bytes(size, checked=checked) if size else 0,
        component="PvMonitor",
        set_by="Tied to pebbleBufCount",
        why=f"{count}: one for each pebble slot; "
        + (f"{size_text(size)}: payload of the PV, {size:,} bytes" if size else f"size {UNKNOWN}"),
        notes="Staging of PV images; cannot be set: size taken from the payload.",
    )
