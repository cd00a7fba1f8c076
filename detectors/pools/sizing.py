"""How many buffers of which size a source gets, and why. Pure; the host is asked in ``detectors.pools.host_memory``.

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

from detectors.config import Config, DmaSection, PoolsSection, PvaSection, SourceSection, UdpSection
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
    """Who owns it."""
    set_by: str
    """What decides on it."""
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
    def shared_bytes(self) -> int:
        """Memory taken from ``/dev/shm``."""
        return self.pebble.memory_bytes

    @property
    def memory_bytes(self) -> int:
        """Memory taken in all."""
        return self.dma.memory_bytes + self.memory_at(self.pebble.count)[0]

    @property
    def resident_bytes(self) -> int:
        """What the worker's process holds in memory, shared memory and the process itself included."""
        ring = self.dma.memory_bytes if self.dma.in_process else 0
        return ring + self.memory_at(self.pebble.count)[0] + PROCESS_BYTES

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


def plan_source(
    source: SourceSection,
    dma: DmaSection,
    pools: PoolsSection,
    payload_bytes: int | None,
    *,
    driver: DriverRing | None = None,
    timing: bool = True,
) -> BufferPlan:
    """Return the buffers of a source whose frames have ``payload_bytes``.

    ``driver`` is the ring of a DMA card, which then stands for a PVA source's cfgRxCount and cfgSize. Without ``timing``
    a PVA source has nothing to put into its ring, and none is made; the other numbers follow from it all the same.
    Raises SizingError with every rule that is broken, one line each.
    """
    problems: list[str] = []
    is_udp = isinstance(source, UdpSection)
    ring = _dma(dma, driver=None if is_udp else driver, is_udp=is_udp, timing=timing)
    if payload_bytes is not None and payload_bytes < 1:
        problems.append(f"payload: found {payload_bytes} bytes, expected an image of at least 1")
    elif payload_bytes is not None and ring.total_bytes < payload_bytes:
        problems.append(
            f"dma: {ring.count} x {size_text(ring.size_bytes)} = {size_text(ring.total_bytes)} does not hold one image of "
            f"{payload_bytes:,} bytes: the DMA engine would overrun; raise cfgRxCount to at least "
            f"{-(-payload_bytes // ring.size_bytes)}, or cfgSize"
        )
    count, count_why = _pebble_count(ring.count, pools.pebble_buf_count, problems)
    shape = RecordShape(max(payload_bytes or 0, 0))
    slot, slot_why, slot_notes = _pebble_slot(shape, payload_bytes, pools.pebble_buf_size, problems)
    if problems:
        raise SizingError(*(f"{source.name}: {problem}" for problem in problems))
    pebble = BufferSize(
        count=count,
        size_bytes=slot,
        memory_bytes=_pebble_memory(count, slot),
        component="Pebble, shared memory",
        set_by="pebbleBufCount and pebbleBufSize",
        why=f"{count_why}; {slot_why}",
        notes=f"Full datagrams: image and metadata.{slot_notes}",
    )
    transition = None if is_udp else _transition(count, payload_bytes, checked=pools.checked)
    return BufferPlan(source.name, ring, pebble, transition, payload_bytes, shape)


def plan_buffers(
    config: Config, source: SourceSection, *, payload_bytes: int | None = None, driver: DriverRing | None = None
) -> BufferPlan:
    """Return the buffers of one source of a configuration.

    ``payload_bytes`` overrides what the configuration says. Raises SizingError as ``plan_source`` does.
    """
    payload = declared_payload(source) if payload_bytes is None else payload_bytes
    timing = config.timing is not None
    return plan_source(source, config.dma_of(source), config.pools_of(source), payload, driver=driver, timing=timing)


def plan_all(
    config: Config, *, payloads: Mapping[str, int | None] | None = None, driver: DriverRing | None = None
) -> dict[str, BufferPlan]:
    """Return the buffers of every source by its name; ``payloads`` are those known otherwise, by name.

    Raises SizingError with every rule that is broken in any source, one line each.
    """
    plans: dict[str, BufferPlan] = {}
    problems: list[str] = []
    for source in (*config.udp, *config.pva):
        try:
            payload = (payloads or {}).get(source.name)
            plans[source.name] = plan_buffers(config, source, payload_bytes=payload, driver=driver)
        except SizingError as error:
            problems += error.problems
    if problems:
        raise SizingError(*problems)
    return plans


def _dma(dma: DmaSection, *, driver: DriverRing | None, is_udp: bool, timing: bool) -> BufferSize:
    is_made = is_udp or timing
    if driver is not None:
        count, size = driver.count, driver.size
        component, set_by = "PGP kernel driver", driver.path
        why = f"{count} and {size_text(size)}: cfgRxCount and cfgSize of the card, from {set_by}"
    else:
        count, size = dma.cfg_rx_count, int(dma.cfg_size)
        component = "Socket buffer, kernel" if is_udp else "DMA ring, simulated"
        set_by = "cfgRxCount and cfgSize"
        why = f"{count}: cfgRxCount; {size_text(size)}: cfgSize"
    return BufferSize(
        count=count,
        size_bytes=size,
        memory_bytes=count * (size if is_udp or driver else slot_bytes(size, checked=False)) if is_made else 0,
        component=component,
        set_by=set_by,
        why=why,
        notes="Ring buffer; must hold the entire image (no overrun)."
        + ("" if is_made else " Takes no memory: there is no timing stream."),
        in_process=not is_udp and driver is None,
    )


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
    """Return the bytes of a slot, the reason, and a note."""
    needed = least_slot_bytes(shape)
    if given is None:
        if payload_bytes is None:
            return 0, f"size {UNKNOWN}", ""
        reason = (
            f"{needed:,} bytes: {RECORD_HEADER.itemsize} + {payload_bytes:,} of record, up to {shape.align - 1:,} of "
            f"alignment and 4 of sentinel, in whole pages"
        )
        return needed, reason, ""
    given = int(given)
    rounded = round_to_page(given)
    if payload_bytes is not None and rounded < needed:
        problems.append(
            f"pebbleBufSize: found {given:,} bytes, expected at least {needed:,}: "
            f"{payload_bytes:,} of payload, its header, alignment and sentinel in whole pages; raise it or leave it out"
        )
    reason = f"{size_text(rounded)}: pebbleBufSize as given"
    if payload_bytes is not None:
        reason += f", where a record needs {size_text(needed)}"
    if rounded != given:
        reason += f", rounded up from {given:,} bytes to whole pages"
        return rounded, reason, f" Size rounded up from {given:,} bytes: slots begin on pages."
    return rounded, reason, ""


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
