"""A steady run, with the disk or without it: nothing is lost, every byte is right, memory stays flat."""

import time
from collections.abc import Callable

from bench.soak.judge import compare_sources, expect_no_loss, read
from bench.soak.memory import Memory
from bench.soak.result import Result
from bench.soak.rig import START_S, Rig
from bench.soak.setup import CAMERA
from detectors.config import UdpSection
from detectors.errors import HostError
from detectors.worker_names import worker_name

_SOURCES_END_S = 15.0
_EARLY_S = 0.5
"""A source that has ended so long before its time has failed, s."""
_DRAIN_S = 30.0
_LOOK_S = 0.2

Say = Callable[[str], None]


def run(rig: Rig, result: Result, *, disk: bool, warm_up_s: float, say: Say) -> None:
    """Take data for ``rig.seconds`` and judge it."""
    rig.start_ioc()
    rig.start_sources(rig.seconds)
    before = rig.enable()[f"pva.{CAMERA}"].updates.updates
    if not disk:
        rig.client.put("Disk:On", 0)
        for source in (*rig.config.udp, *rig.config.pva):
            rig.client.wait_for(f"{source.name}:Disk:On_RBV", "Off", START_S)
    memory = Memory(warm_up_s)
    rig.begin()
    watch(rig, memory, say)
    reports = rig.reports(_SOURCES_END_S)
    final = result.snapshots = rig.client.drained(_DRAIN_S)
    result.memory = memory.verdicts()
    code, took_s = rig.stop()
    compare_sources(rig, result, final, reports, before)
    for source in (*rig.config.udp, *rig.config.pva):
        status = final[worker_name(source)]
        expect_no_loss(result, source.name, status)
        sent = reports[source.name]["frames" if isinstance(source, UdpSection) else "images"]
        result.expect(f"{source.name}: frames written", status.disk.written, sent if disk else 0)
        result.expect(
            f"{source.name}: frames that came while the disk was disabled", status.disk.disabled, 0 if disk else sent
        )
        result.expect(
            f"{source.name}: frames on disk",
            read(rig, result, source, reports[source.name]).frames,
            status.disk.written,
        )
    result.expect("exit code of the IOC", code, 0)
    result.notes.append(f"the IOC ended {took_s:.2f} s after SIGTERM")
    left = rig.left_behind()
    result.expect("things left behind", len(left), 0)
    result.problems += left


def watch(rig: Rig, memory: Memory, say: Say) -> None:
    """Watch until all sources have ended. Raises HostError when one ends early, or the IOC does."""
    while any(child.running for child in rig.sources.values()):
        rig.ioc.check()
        if rig.elapsed_s < rig.seconds - _EARLY_S:
            for child in rig.sources.values():
                child.check()
        elif rig.elapsed_s > rig.seconds + _SOURCES_END_S:
            raise HostError("the sources did not end in time; is this machine overloaded?")
        memory.sample(rig.pids())
        rates = ", ".join(
            f"{name} {rig.client.get(f'{name}:State_RBV')} {rig.client.get(f'{name}:FrameRate_RBV'):.0f}/s"
            for name in (*rig.setup.module_names, CAMERA)
        )
        say(f"{rig.elapsed_s:.0f} of {rig.seconds:g} s: {rates}")
        time.sleep(_LOOK_S)
