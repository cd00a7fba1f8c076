"""A camera that is killed and started again, over and over: every image is counted, and the monitor never falters.

In the first half the camera goes on counting where its clock is, as if only its server had gone: uniqueId tells exactly
how many images were missed. In the second half it counts from 1 each time, as one does that was restarted.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from bench.soak.judge import expect_balance, read
from bench.soak.memory import Memory
from bench.soak.result import Result
from bench.soak.rig import Rig, wait_until
from bench.soak.setup import CAMERA, FIRST_PULSE
from detectors.stats import MonitorStatus

WORKER: Final = f"pva.{CAMERA}"
NOTICED_S: Final = 5.0
"""Within so long its state must show that the camera is away, s."""
BACK_S: Final = 20.0
"""Within so long after the camera is ready again images must be placed, s."""
_SOURCES_END_S = 15.0
_DRAIN_S = 30.0
_LOOK_S = 0.2

Say = Callable[[str], None]


@dataclass(slots=True)
class _Tally:
    every_s: float
    away_s: float
    kills: int = 0
    afresh: int = 0
    seen_afresh: int = 0
    """Times that its successor certainly had not counted as far when it was first seen."""
    noticed_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    counted: MonitorStatus | None = None
    """Snapshot at the end of the first half, with the camera away."""


def run(rig: Rig, result: Result, *, every_s: float, away_s: float, warm_up_s: float, say: Say) -> None:
    """Kill the camera every ``every_s`` for ``rig.seconds``; it stays away for ``away_s``."""
    rig.start_ioc()
    rig.start_sources()
    before = rig.enable()[WORKER]
    pids = rig.pids()
    memory, tally = Memory(warm_up_s), _Tally(every_s, away_s)
    rig.begin()
    _kill_and_start(rig, memory, tally, say)
    reports = rig.end_sources(_SOURCES_END_S)
    final = result.snapshots = rig.client.drained(_DRAIN_S)
    result.memory = memory.verdicts()
    result.expect("workers that are another process now", sum(rig.pids()[name] != pid for name, pid in pids.items()), 0)
    code, took_s = rig.stop()
    status: MonitorStatus = final[WORKER]
    _compare(result, status, before, tally, reports)
    expect_balance(result, final)
    camera = {"first_pulse": FIRST_PULSE, "last_pulse": reports["timing"]["last_pulse"]}
    found = read(rig, result, rig.config.pva[0], camera)
    result.expect("images on disk", found.frames, status.disk.written)
    result.expect("exit code of the IOC", code, 0)
    result.notes += [
        f"camera killed {tally.kills} times, {tally.afresh} times it counted afresh",
        f"that it was away showed after {_range(tally.noticed_s)}; images placed {_range(tally.back_s)} after it was ready",
        f"the IOC ended {took_s:.2f} s after SIGTERM",
    ]
    left = rig.left_behind()
    result.expect("things left behind", len(left), 0)
    result.problems += left


def _kill_and_start(rig: Rig, memory: Memory, tally: _Tally, say: Say) -> None:
    kill_at_s = tally.every_s
    while rig.elapsed_s < rig.seconds:
        rig.ioc.check()
        for child in rig.sources.values():
            child.check()
        memory.sample(rig.pids())
        placed = rig.client.get(f"{CAMERA}:Placed_RBV")
        say(f"{rig.elapsed_s:.0f} of {rig.seconds:g} s: {placed} images placed, camera killed {tally.kills} times")
        if rig.elapsed_s >= kill_at_s and rig.elapsed_s + tally.away_s < rig.seconds:
            _one(rig, tally)
            # It lives for long enough to count further than its successor has by the time that we see it.
            kill_at_s = max(kill_at_s + tally.every_s, rig.elapsed_s + tally.every_s / 2)
        time.sleep(_LOOK_S)


def _one(rig: Rig, tally: _Tally) -> None:
    rig.sources[CAMERA].kill()
    killed_s = time.monotonic()
    tally.kills += 1
    wait_until("state of the monitor", lambda: _state(rig), lambda state: state != "Receiving", NOTICED_S)
    tally.noticed_s.append(time.monotonic() - killed_s)
    afresh = rig.elapsed_s > rig.seconds / 2
    counted = rig.client.snapshots()[WORKER]
    if afresh and not tally.afresh:
        tally.counted = counted
    tally.afresh += afresh
    time.sleep(max(0.0, killed_s + tally.away_s - time.monotonic()))
    placed = rig.client.get(f"{CAMERA}:Placed_RBV")
    rig.start_camera(afresh=afresh)
    ready_s = time.monotonic()
    wait_until("images placed", lambda: rig.client.get(f"{CAMERA}:Placed_RBV"), lambda now: now > placed, BACK_S)
    tally.seen_afresh += afresh and rig.client.snapshots()[WORKER].unique_id < counted.unique_id
    wait_until("state of the monitor", lambda: _state(rig), lambda state: state == "Receiving", BACK_S)
    tally.back_s.append(time.monotonic() - ready_s)


def _state(rig: Rig) -> Any:
    return rig.client.get(f"{CAMERA}:State_RBV")


def _compare(
    result: Result, status: MonitorStatus, before: MonitorStatus, tally: _Tally, reports: dict[str, dict[str, Any]]
) -> None:
    u = status.updates
    images = u.updates - u.empty_updates
    result.expect("reconnections", u.reconnects, tally.kills)
    # Found again late, a camera that counts afresh may be further than the last one was: that looks like images missed.
    restarts = min(max(u.restarts, tally.seen_afresh), tally.afresh)
    result.expect("restarts of uniqueId", u.restarts, restarts)
    result.expect("images placed, of those received while enabled", u.match, images - u.discarded_disabled)
    result.expect("decode errors", u.decode_errors, 0)
    result.expect("images that found no slot", u.exhausted + u.l1_exhausted, 0)
    result.expect("events received or missed", u.l1_accepts + u.l1_missed, reports["timing"]["l1_accepts"])
    result.expect("events missed", u.l1_missed, 0)
    result.expect("images written", status.disk.written, u.placed)
    counted = tally.counted or status
    half = counted.updates
    seen = half.updates - half.empty_updates - (before.updates.updates - before.updates.empty_updates)
    # Image n of the clock has uniqueId FIRST_PULSE + n; the one from before the start is not of this run.
    result.expect("images received or missed, by uniqueId", seen + half.missed, counted.unique_id - FIRST_PULSE + 1)


def _range(seconds: list[float]) -> str:
    return f"{min(seconds):.1f} to {max(seconds):.1f} s" if seconds else "-"
