"""Checks of the host itself: open files, processors, priorities, the clock."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from detectors.config import SourceSection
from detectors.workers.host_clock import ClockState, read_clock
from detectors.workers.preflight.checks import Finding, Level, Request, check
from detectors.workers.tuning import LOWEST_REALTIME

OPEN_FILES_WANTED: Final = 1024


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


@check("clock", cheap=True)
def _clock(request: Request) -> Iterator[Finding]:  # noqa: ARG001
    synced = read_clock().state is ClockState.SYNCHRONISED
    yield Finding(
        "clock",
        Level.OK if synced else Level.WARNING,
        "synchronised" if synced else "not synchronised: its times cannot be compared with those of other hosts",
        "" if synced else "systemctl enable --now chronyd  (or timedatectl set-ntp true)",
    )
