"""Workers and the IOC killed at random times: who is not killed loses nothing, and nothing is left in the end."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.soak.judge import expect_balance, read, sent_of
from bench.soak.outages import Outage, unexplained
from bench.soak.result import Result
from bench.soak.rig import Rig, wait_until
from detectors.buffer.reader import BufferReader
from detectors.errors import CommandError, HostError
from detectors.verify import verify
from detectors.worker_names import worker_name

IOC: Final = "ioc"
BACK_S: Final = 60.0
"""Within so long a killed worker must take data again, s: the pause before it is started again doubles, up to 30 s."""
IOC_AWAY_S: Final = 2.0
"""How long the IOC stays away, s."""
_SOURCES_END_S = 15.0
_DRAIN_S = 30.0
_LOOK_S = 0.2
_SHOWN: Final = 5

Say = Callable[[str], None]


@dataclass(slots=True)
class _Tally:
    outages: list[Outage] = field(default_factory=list)
    ioc_kills: int = 0
    adopted: int = 0
    not_adopted: list[str] = field(default_factory=list)


def run(rig: Rig, result: Result, *, every_s: float, seed: int, say: Say) -> None:
    """Kill somebody about every ``every_s`` for ``rig.seconds``."""
    rig.start_ioc()
    rig.start_sources()
    rig.enable()
    rig.begin()
    tally = _Tally()
    _kill(rig, tally, every_s, random.Random(seed), say)
    reports = rig.end_sources(_SOURCES_END_S)
    final = result.snapshots = rig.client.drained(_DRAIN_S)
    code, took_s = rig.stop()
    expect_balance(result, final)
    _repair(rig, result)
    for source in (*rig.config.udp, *rig.config.pva):
        sent = sent_of(rig, source, reports[source.name])
        found = read(rig, result, source, reports[source.name])
        lost = [rig.setup.time_ns(pulse, rig.epoch_ns) for pulse in sent.pulses if pulse not in found.good]
        outages = [outage for outage in tally.outages if outage.worker == worker_name(source)]
        result.expect(f"{source.name}: frames lost outside its outages", len(unexplained(lost, outages)), 0)
        down_s = ", ".join(f"{outage.seconds:.1f}" for outage in outages)
        result.notes.append(
            f"{source.name}: killed {len(outages)} times, down for {down_s or '-'} s; {len(sent.pulses)} frames sent, "
            f"{len(found.good)} whole on disk, {len(lost)} lost"
        )
    result.expect("workers adopted by another IOC", tally.adopted, tally.adopted + len(tally.not_adopted))
    result.problems += tally.not_adopted
    result.expect("exit code of the IOC", code, 0)
    result.notes.append(f"IOC killed {tally.ioc_kills} times; the last one ended {took_s:.2f} s after SIGTERM")
    left = rig.left_behind()
    result.expect("things left behind", len(left), 0)
    result.problems += left


def victims(workers: list[str], chance: random.Random) -> Iterator[tuple[str, ...]]:
    """Yield who is killed next, for ever: each worker, the IOC, and the IOC together with a worker, in random order."""
    while True:
        round_ = [*((worker,) for worker in workers), (IOC,), (chance.choice(workers), IOC)]
        chance.shuffle(round_)
        yield from round_


def _kill(rig: Rig, tally: _Tally, every_s: float, chance: random.Random, say: Say) -> None:
    queue = victims(rig.workers, chance)
    at_s = every_s * chance.uniform(0.5, 1.5)
    while rig.elapsed_s < rig.seconds:
        rig.ioc.check()
        for child in rig.sources.values():
            child.check()
        if rig.elapsed_s >= at_s:
            chosen = next(queue)
            say(f"{rig.elapsed_s:.0f} of {rig.seconds:g} s: killing {' and '.join(chosen)}")
            _strike(rig, tally, chosen)
            at_s = rig.elapsed_s + every_s * chance.uniform(0.5, 1.5)
        time.sleep(_LOOK_S)


def _strike(rig: Rig, tally: _Tally, chosen: tuple[str, ...]) -> None:
    pids = rig.pids()
    ended: dict[str, int] = {}
    for worker in chosen:
        if worker == IOC:
            rig.ioc.kill()
            tally.ioc_kills += 1
        else:
            ended[worker] = time.time_ns()
            os.kill(pids[worker], signal.SIGKILL)
    if IOC in chosen:
        _bring_back_ioc(rig, tally, {w: pids[w] for w in rig.workers if w not in ended})
    for worker, ended_ns in ended.items():
        wait_until(f"{worker} takes data again", lambda w=worker: _taking(rig, w, pids[w]), bool, BACK_S)
        tally.outages.append(Outage(worker, ended_ns, time.time_ns()))


def _bring_back_ioc(rig: Rig, tally: _Tally, alive: Mapping[str, int]) -> None:
    """Start the IOC again, and see that it adopts the workers that went on without it."""
    before = {worker: _done(rig.status(worker)) for worker in alive}
    time.sleep(IOC_AWAY_S)
    for worker in alive:
        wait_until(f"{worker} goes on without the IOC", lambda w=worker: _done(rig.status(w)) > before[w], bool, BACK_S)
    rig.start_ioc()
    for worker, pid in alive.items():
        name = worker.partition(".")[2]
        rig.client.wait_for(f"{name}:Running_RBV", "Yes", BACK_S)
        if rig.client.get(f"{name}:Pid_RBV") == pid and rig.client.get(f"{name}:Adopted_RBV") == "Yes":
            tally.adopted += 1
        else:
            tally.not_adopted.append(
                f"{worker}, process {pid}, was not adopted: now {rig.client.get(f'{name}:Pid_RBV')}"
            )
    rig.client.wait_for("RunState_RBV", "Enabled", BACK_S)


def _taking(rig: Rig, worker: str, old_pid: int) -> bool:
    """Whether another process takes data in the place of the old one."""
    try:
        status = rig.status(worker)
    except CommandError:
        return False
    return status["pid"] != old_pid and status["run_state"] == "Enabled" and _done(status) > 0


def _done(status: Mapping[str, Any]) -> int:
    """Return the frames or images that a worker has handed on."""
    return status["frames"]["complete"] if "frames" in status else status["updates"]["placed"]


def _repair(rig: Rig, result: Result) -> None:
    """Mark what was torn by a kill as holes, as the operator would, and see that the buffer is consistent then."""
    assert rig.config.disk is not None
    for folder in sorted(rig.config.disk.folder.iterdir()):
        child = rig.start("repair", "repair", folder)
        code = child.wait(BACK_S)
        if code is None:
            raise HostError(f"pebbledaq repair {folder} did not end within {BACK_S:g} s")
        result.expect(f"{folder.name}: exit code of repair", code, 0)
        result.notes.append(f"repair {folder.name}: {child.lines[-1] if child.lines else 'said nothing'}")
        # That one module has a pulse which another one lacks is what a kill must lead to.
        findings = [finding for finding in verify(BufferReader(folder)) if finding.check != "agreement"]
        result.expect(f"{folder.name}: findings of verify, one-sided pulses left out", len(findings), 0)
        result.problems += [f"verify: {finding.check}: {finding.message}" for finding in findings[:_SHOWN]]
