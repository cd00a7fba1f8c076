"""Checks of the host itself: open files, processors, priorities, the clock."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from detectors.config import SourceSection
from detectors.workers.host_clock import ClockState, read_clock
from detectors.workers.preflight.checks import Finding, Level, Request, error, judged, warning
from detectors.workers.tuning import LOWEST_REALTIME

OPEN_FILES_WANTED: Final = 1024


def check_open_files(request: Request) -> Iterator[Finding]:  # noqa: ARG001
    """Check how many files a process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    good = soft == resource.RLIM_INFINITY or soft >= OPEN_FILES_WANTED
    yield judged(good, f"limit {soft}", f"ulimit -n {OPEN_FILES_WANTED}")


def check_processors(request: Request) -> Iterator[Finding]:
    """Check that there are processors for the workers, and that these may use them."""
    usable = os.sched_getaffinity(0)
    workers = len(request.sources)
    remedy = "expect losses at high rates: move modules to another host"
    yield judged(len(usable) >= workers, f"{len(usable)} for {workers} worker(s)", remedy)
    for source in request.sources:
        if absent := sorted(set(source.tuning.cpus) - usable):
            found = f"{source.name}: tuning.cpus names {absent}, usable are {sorted(usable)}"
            yield error(found, "correct tuning.cpus")
        if source.tuning.realtime_priority != 0:
            yield _realtime(source)
    governors = {
        p.read_text().strip() for p in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    }
    if governors - {"performance"}:
        yield warning(", ".join(sorted(governors)), "cpupower frequency-set -g performance", "governor")


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


def check_clock(request: Request) -> Iterator[Finding]:  # noqa: ARG001
    """Check that a service keeps the clock."""
    synced = read_clock().state is ClockState.SYNCHRONISED
    found = "synchronised" if synced else "not synchronised: its times cannot be compared with those of other hosts"
    yield judged(synced, found, "systemctl enable --now chronyd  (or timedatectl set-ntp true)")
