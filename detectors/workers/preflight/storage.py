"""Checks of memory and disk: whether the pools fit, and whether the data does."""

import mmap
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from detectors.buffer.retention_plan import least_bytes
from detectors.config import Config
from detectors.errors import SizingError
from detectors.pools.available import mem_available
from detectors.pools.host_memory import Machine
from detectors.pools.sizing import BufferPlan, size_text
from detectors.runtime_names import SHM_FOLDER
from detectors.workers.preflight.checks import Finding, Level, Request, error, judged, warning

WRITE_PROBE_BYTES: Final = 256 << 20
WRITE_CHUNK_BYTES: Final = 4 << 20


def check_free_memory(request: Request) -> Iterator[Finding]:
    """Check that the buffers fit into the memory, and the pebbles into the shared one."""
    try:
        plans = request.plans()
    except SizingError as refused:
        yield error(str(refused), "correct the configuration: pebbledaq sizes CONFIG")
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
    found = f"pebbles need {size_text(pebble)}, free {size_text(free)}"
    yield judged(pebble <= free, found, larger, bad=Level.ERROR, check="shared memory")
    found = f"pools need {size_text(needed)}, available {size_text(available)}"
    yield judged(needed <= available, found, lower, bad=Level.ERROR)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def check_disk(request: Request) -> Iterator[Finding]:
    """Check that the buffer's folder can be written, and for how long there is room."""
    disk, folder = request.config.disk, request.disk_folder
    if disk is None or folder is None:
        return
    folder = _existing(folder)
    if not _writable(folder):
        yield error(f"{folder}: not writable", f"chown {os.getuid()} {folder}  (as root)")
        return
    free = shutil.disk_usage(folder).free
    rate = _byte_rate(request)
    minutes = free / rate / 60 if rate else float("inf")
    low = free < disk.min_free
    yield judged(
        not low and minutes >= 10,
        f"{folder}: {size_text(free)} free: {minutes:.0f} min at {request.rate_hz:g} frames/s",
        "free some space, or set disk.keep_free so that the oldest data makes room",
        bad=Level.ERROR if low else Level.WARNING,
    )


def check_hdf5_folder(request: Request) -> Iterator[Finding]:
    """Check that HDF5 files can be made."""
    section = request.config.hdf5
    if section is None or not request.runs(section):
        return
    folder = _existing(section.folder)
    good = _writable(folder)
    found = f"{folder}: HDF5 files can be made" if good else f"{folder}: not writable, no HDF5 file can be made"
    yield judged(good, found, f"chown {os.getuid()} {folder}  (as root)", bad=Level.ERROR)


def check_retention(request: Request) -> Iterator[Finding]:
    """Check that the limit on size can be kept."""
    with suppress(SizingError):  # the check of the memory has it
        if found := keep_size_shortfall(request.config, request.plans()):
            yield warning(found, "set a larger disk.keep_size")


def keep_size_shortfall(config: Config, plans: Mapping[str, BufferPlan]) -> str:
    """Return why a host's disks will hold more than ``keep_size``; empty when they need not, or when payloads are not known.

    ``plans`` are of sources by their names.
    """
    if config.disk is None or config.disk.keep_size is None:
        return ""
    step = config.detector.pulse_id_step
    by_host: Counter[str | None] = Counter()
    for source in config.sources:
        plan = plans.get(source.name)
        if plan and plan.payload_bytes is not None:
            by_host[source.host] += least_bytes(plan.record_shape, step)
    least = max(by_host.values(), default=0)
    if config.disk.keep_size >= least:
        return ""
    return (
        f"disk.keep_size is {size_text(int(config.disk.keep_size))}, but the files that are being written take "
        f"{size_text(least)}, and are never deleted"
    )


def _byte_rate(request: Request) -> float:
    return sum((p.payload_bytes or 0) * request.rate_hz for p in request.plans().values())


def write_rate(folder: Path, nbytes: int = WRITE_PROBE_BYTES) -> float:
    """Return the rate of O_DIRECT writes to a file in ``folder``, bytes/s. Buffered and synced where it is refused."""
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


def check_write_rate(request: Request) -> Iterator[Finding]:
    """Check that the disk takes the data as fast as it comes."""
    if request.disk_folder is None:
        return
    folder = _existing(request.disk_folder)
    if not _writable(folder) or shutil.disk_usage(folder).free < 2 * WRITE_PROBE_BYTES:
        return
    rate, needed = write_rate(folder), _byte_rate(request)
    found = f"{folder}: {rate / 1e6:.0f} MB/s, {needed / 1e6:.0f} MB/s needed at {request.rate_hz:g} frames/s"
    yield judged(rate >= needed, found, "use a faster disk, or fewer modules to a disk")
