"""Look at what commonly ruins a beam time, and say what to type.

Every check is a generator of findings, registered by ``@check``. The cheap ones also run when a worker starts.
"""

import ctypes
import os
import resource
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from detectors.buffer.retention_plan import least_bytes
from detectors.config import Config, SourceSection, UdpSection
from detectors.errors import PebbleDaqError, SizingError
from detectors.pools.available import mem_available
from detectors.pools.host_memory import Machine
from detectors.pools.sizing import BufferPlan, plan_buffers, size_text
from detectors.pools.socket_ring import SocketRing
from detectors.runtime import SHM_FOLDER
from detectors.wire.headers import HEADERS
from detectors.workers.tuning import LOWEST_REALTIME

IP_AND_UDP_HEADERS: Final = 28
"""IPv4 and UDP headers of a datagram, bytes."""

OPEN_FILES_WANTED: Final = 1024
WRITE_PROBE_BYTES: Final = 256 << 20
WRITE_CHUNK_BYTES: Final = 4 << 20

_STA_UNSYNC: Final = 0x40
_TIMEX_BYTES: Final = 208
_TIMEX_STATUS_OFFSET: Final = 40


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: ``remedy`` is what to type, empty when nothing is to be done."""

    check: str
    level: Level
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the host: a configuration and the frame rate it is meant for."""

    config: Config
    rate_hz: float
    only: SourceSection | None = None

    @property
    def sources(self) -> list[SourceSection]:
        """The sources looked at."""
        return [self.only] if self.only else [s for s in (*self.config.udp, *self.config.pva) if s.enabled]

    @property
    def modules(self) -> list[UdpSection]:
        """The UDP modules among them."""
        return [s for s in self.sources if isinstance(s, UdpSection)]


Check = Callable[[Request], Iterator[Finding]]
_CHECKS: Final[dict[str, tuple[Check, bool]]] = {}


def check(name: str, *, cheap: bool) -> Callable[[Check], Check]:
    """Register a check; cheap ones take milliseconds and leave nothing behind."""

    def register(function: Check) -> Check:
        _CHECKS[name] = (function, cheap)
        return function

    return register


def run_checks(
    config: Config, *, rate_hz: float = 100.0, cheap: bool = False, only: SourceSection | None = None
) -> list[Finding]:
    """Return the findings of all checks, or of the cheap ones."""
    request = Request(config, rate_hz, only)
    findings: list[Finding] = []
    for name, (function, is_cheap) in _CHECKS.items():
        if cheap and not is_cheap:
            continue
        try:
            findings += function(request)
        except (OSError, PebbleDaqError) as error:
            findings.append(Finding(name, Level.ERROR, f"cannot be checked: {error}"))
    return findings


def granted_receive_buffer(count: int, size: int) -> int:
    """Return the bytes of socket buffer that the kernel grants to a ring of ``count`` x ``size`` bytes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return SocketRing(probe, count, size).granted_bytes


@check("receive buffer", cheap=True)
def _receive_buffer(request: Request) -> Iterator[Finding]:
    for module in request.modules:
        dma = request.config.dma_of(module)
        asked = dma.cfg_rx_count * int(dma.cfg_size)
        got = granted_receive_buffer(dma.cfg_rx_count, int(dma.cfg_size))
        found = f"{module.name}: asked {asked} bytes, got {got}"
        if got >= asked:
            yield Finding("receive buffer", Level.OK, found)
        else:
            frames = got // module.geometry.frame_bytes
            yield Finding(
                "receive buffer",
                Level.ERROR if frames < 1 else Level.WARNING,
                f"{found}: room for {frames} frame(s)",
                f"sysctl -w net.core.rmem_max={asked}  (or give the process CAP_NET_ADMIN)",
            )


def _interfaces(address: str) -> Iterator[tuple[str, int]]:
    """Yield (name, MTU) of the interfaces that packets for ``address`` can come in by."""
    loopback = address.startswith("127.")
    for folder in sorted(Path("/sys/class/net").iterdir()):
        with suppress(OSError, ValueError):
            up = (folder / "operstate").read_text().strip() in ("up", "unknown")
            if up and (folder.name == "lo") == loopback:
                yield folder.name, int((folder / "mtu").read_text())


@check("MTU", cheap=True)
def _mtu(request: Request) -> Iterator[Finding]:
    for address in sorted({m.address for m in request.modules}):
        packet = max(
            HEADERS[m.geometry.header].itemsize + m.geometry.packet_data_bytes
            for m in request.modules
            if m.address == address
        )
        needed = packet + IP_AND_UDP_HEADERS
        interfaces = list(_interfaces(address))
        small = [(name, mtu) for name, mtu in interfaces if mtu < needed]
        if interfaces and len(small) < len(interfaces):
            found = ", ".join(f"{name} {mtu}" for name, mtu in interfaces)
            yield Finding("MTU", Level.OK, f"{address}: {found} (packets need {needed})")
        else:
            for name, mtu in small:
                yield Finding(
                    "MTU", Level.WARNING, f"{name} has {mtu}, packets need {needed}", f"ip link set dev {name} mtu 9000"
                )


def _plans(request: Request) -> dict[str, BufferPlan]:
    return {s.name: plan_buffers(request.config, s) for s in request.sources}


@check("memory", cheap=True)
def _memory(request: Request) -> Iterator[Finding]:
    try:
        plans = _plans(request)
    except SizingError as error:
        yield Finding("memory", Level.ERROR, str(error), "correct the configuration: pebbledaq sizes CONFIG")
        return
    pebble = sum(p.pebble.total_bytes for p in plans.values() if p.pebble)
    transition = sum(p.transition.total_bytes for p in plans.values() if p.transition)
    shm = os.statvfs(SHM_FOLDER)
    free, available, needed = shm.f_bavail * shm.f_frsize, mem_available(), pebble + transition
    largest = Machine(available, available).largest_count(list(plans.values())) if plans else None
    lower = f"set pebbleBufCount = {largest}, and cfgRxCount below it" if largest else "take smaller images"
    lower = f"{lower}, or free memory: pebbledaq sizes CONFIG"
    # More shared memory than there is memory would be no use.
    larger = f"mount -o remount,size={pebble * 5 // 4 >> 20}m /dev/shm" if needed <= available else lower
    yield Finding(
        "shared memory",
        Level.OK if pebble <= free else Level.ERROR,
        f"pebbles need {size_text(pebble)}, free {size_text(free)}",
        "" if pebble <= free else larger,
    )
    yield Finding(
        "memory",
        Level.OK if needed <= available else Level.ERROR,
        f"pools need {size_text(needed)}, available {size_text(available)}",
        "" if needed <= available else lower,
    )


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


@check("disk", cheap=True)
def _disk(request: Request) -> Iterator[Finding]:
    disk = request.config.disk
    if disk is None or not disk.enabled:
        return
    folder = _existing(disk.folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("disk", Level.ERROR, f"{folder}: not writable", f"chown {os.getuid()} {folder}  (as root)")
        return
    free = shutil.disk_usage(folder).free
    rate = _byte_rate(request)
    minutes = free / rate / 60 if rate else float("inf")
    low = free < disk.min_free
    yield Finding(
        "disk",
        Level.ERROR if low else Level.WARNING if minutes < 10 else Level.OK,
        f"{folder}: {size_text(free)} free: {minutes:.0f} min at {request.rate_hz:g} frames/s",
        "free some space, or set disk.keep_free so that the oldest data makes room" if low or minutes < 10 else "",
    )


@check("retention", cheap=True)
def _retention(request: Request) -> Iterator[Finding]:
    with suppress(SizingError):  # the check of the memory has it
        if found := keep_size_shortfall(request.config, _plans(request)):
            yield Finding("retention", Level.WARNING, found, "set a larger disk.keep_size")


def keep_size_shortfall(config: Config, plans: Mapping[str, BufferPlan]) -> str:
    """Return why the disk will hold more than ``keep_size``; empty when it need not, or when payloads are not known."""
    if config.disk is None or config.disk.keep_size is None:
        return ""
    step = config.detector.pulse_id_step
    least = sum(least_bytes(p.record_shape, step) for p in plans.values() if p.payload_bytes is not None)
    if config.disk.keep_size >= least:
        return ""
    return (
        f"disk.keep_size is {size_text(int(config.disk.keep_size))}, but the files that are being written take "
        f"{size_text(least)}, and are never deleted"
    )


def _byte_rate(request: Request) -> float:
    return sum((p.payload_bytes or 0) * request.rate_hz for p in _plans(request).values())


def write_rate(folder: Path, nbytes: int = WRITE_PROBE_BYTES) -> float:
    """Return the rate of O_DIRECT writes to a file in ``folder``, bytes/s. Buffered and synced where it is refused."""
    import mmap

    with mmap.mmap(-1, WRITE_CHUNK_BYTES) as chunk:
        chunk.write(b"\xa5" * WRITE_CHUNK_BYTES)
        path = folder / f".pebbledaq-preflight-{os.getpid()}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_DIRECT, 0o600)
        except OSError:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            start = time.monotonic()
            for offset in range(0, nbytes, WRITE_CHUNK_BYTES):
                os.pwrite(descriptor, chunk, offset)
            os.fdatasync(descriptor)
            return nbytes / (time.monotonic() - start)
        finally:
            os.close(descriptor)
            path.unlink()


@check("write rate", cheap=False)
def _write_rate(request: Request) -> Iterator[Finding]:
    disk = request.config.disk
    if disk is None or not disk.enabled:
        return
    folder = _existing(disk.folder)
    if not os.access(folder, os.W_OK | os.X_OK) or shutil.disk_usage(folder).free < 2 * WRITE_PROBE_BYTES:
        return
    rate, needed = write_rate(folder), _byte_rate(request)
    yield Finding(
        "write rate",
        Level.OK if rate >= needed else Level.WARNING,
        f"{folder}: {rate / 1e6:.0f} MB/s, {needed / 1e6:.0f} MB/s needed at {request.rate_hz:g} frames/s",
        "" if rate >= needed else "use a faster disk, or fewer modules to a disk",
    )


@check("open files", cheap=True)
def _open_files(request: Request) -> Iterator[Finding]:  # noqa: ARG001
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    ok = soft == resource.RLIM_INFINITY or soft >= OPEN_FILES_WANTED
    yield Finding(
        "open files", Level.OK if ok else Level.WARNING, f"limit {soft}", "" if ok else f"ulimit -n {OPEN_FILES_WANTED}"
    )


@check("processors", cheap=True)
def _processors(request: Request) -> Iterator[Finding]:
    usable = os.sched_getaffinity(0)
    workers = len(request.sources)
    yield Finding(
        "processors",
        Level.OK if len(usable) >= workers else Level.WARNING,
        f"{len(usable)} for {workers} worker(s)",
        "" if len(usable) >= workers else "expect losses at high rates: move modules to another host",
    )
    for source in request.sources:
        absent = sorted(set(source.tuning.cpus) - usable)
        if absent:
            yield Finding(
                "processors",
                Level.ERROR,
                f"{source.name}: tuning.cpus names {absent}, usable are {sorted(usable)}",
                "correct tuning.cpus",
            )
        if source.tuning.realtime_priority != 0:
            yield _realtime(source)
    governors = {
        p.read_text().strip() for p in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    }
    if governors - {"performance"}:
        yield Finding("governor", Level.WARNING, ", ".join(sorted(governors)), "cpupower frequency-set -g performance")


def _realtime(source: SourceSection) -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
    asked = source.tuning.realtime_priority
    wanted = asked or LOWEST_REALTIME
    if os.geteuid() == 0 or soft == resource.RLIM_INFINITY or soft >= wanted:
        return Finding("real-time priority", Level.OK, f"{source.name}: {wanted}")
    return Finding(
        "real-time priority",
        Level.ERROR if asked else Level.OK,
        f"{source.name}: wants {wanted}, limit {soft}" if asked else f"{source.name}: none, the host allows {soft}",
        f"ulimit -r {wanted}  (or give the process CAP_SYS_NICE)",
    )


@check("ports", cheap=True)
def _ports(request: Request) -> Iterator[Finding]:
    config = request.config
    wanted = [(m.name, m.address, m.port) for m in request.modules]
    if config.timing and not isinstance(request.only, UdpSection):
        wanted.append(("timing", config.timing.address, config.timing.port))
    for name, address, port in wanted:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, port))
            except OSError as error:
                yield Finding(
                    "ports",
                    Level.ERROR,
                    f"{name}: UDP {address}:{port}: {error.strerror}",
                    f"ss -ulpn 'sport = :{port}'",
                )
            else:
                yield Finding("ports", Level.OK, f"{name}: UDP {address}:{port} is free")


@check("clock", cheap=True)
def _clock(request: Request) -> Iterator[Finding]:  # noqa: ARG001
    timex = (ctypes.c_char * _TIMEX_BYTES)()
    ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    status = int.from_bytes(timex.raw[_TIMEX_STATUS_OFFSET : _TIMEX_STATUS_OFFSET + 4], "little")
    synced = not status & _STA_UNSYNC
    yield Finding(
        "clock",
        Level.OK if synced else Level.WARNING,
        "synchronised" if synced else "not synchronised: timestamps of other hosts will not match",
        "" if synced else "systemctl enable --now chronyd  (or timedatectl set-ntp true)",
    )
