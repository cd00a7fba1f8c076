"""One IOC with everything: real monitor, receivers, timing and stream, fed without a pause while it is commanded."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from detectors.buffer.reader import BufferReader
from sim.pattern import check_frame, missing_flags
from tests.support.both import FIRST_PULSE, NAMES, Running, running_both
from tests.support.waiting import until

SHAPES = {"M00": ((512, 1024), 128), "M01": ((512, 1024), 128), "CAM": ((2048, 2048), 1)}
"""Shape and packets of a frame, by source."""

REST_S = 1.0
"""Longer than any worker sleeps between two snapshots."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path) -> Iterator[Running]:
    with running_both(tmp_path_factory.mktemp("all")) as found:
        yield found


def test_all_sources_are_taken_written_and_assembled(running: Running) -> None:
    ioc = running.ioc
    for name in NAMES:
        ioc.until(f"{name}:State_RBV", "Receiving")
        ioc.until(f"{name}:Disk:Written_RBV", lambda v: v >= 3)
        assert ioc.value(f"{name}:Disk:Errors_RBV") == 0
    running.grows("Stream:ImagesAssembled_RBV", "M00:PulseId_RBV", "CAM:Match_RBV")
    ioc.until("CAM:Payload_RBV", 2048 * 2048 * 2)
    assert ioc.value("CAM:Shape_RBV") == "2048 x 2048"
    assert ioc.value("CAM:Pebble:Count_RBV") == ioc.value("CAM:Transition:Count_RBV") == 32
    assert ioc.value("CAM:Transition:Size_RBV") == 2048 * 2048 * 2
    assert ioc.value("M00:Dma:Total_RBV") == 64 << 20
    assert ioc.value("Retention:KeepHours_RBV") == 24
    ioc.put("Retention:KeepHours", 48.0)  # which looks at once
    ioc.until("Retention:Held_RBV", lambda v: v > 0)


def test_acquire_stops_over_ca_and_starts_over_pva(running: Running) -> None:
    ioc = running.ioc
    ioc.caproto("put", ioc.prefix + "Acquire", "0")
    for name in ("RunState_RBV", *(f"{n}:RunState_RBV" for n in NAMES)):
        ioc.until(name, "Configured")
    running.grows("M00:PacketsDisabled_RBV", "M01:PacketsDisabled_RBV", "CAM:Disabled_RBV", "CAM:L1Refused_RBV")
    ioc.put("Acquire", 1, wait=False)
    for name in ("RunState_RBV", *(f"{n}:RunState_RBV" for n in NAMES)):
        ioc.until(name, "Enabled")
    running.grows(*(f"{n}:Disk:Written_RBV" for n in NAMES))


def test_acquire_stops_over_pva_and_starts_over_ca(running: Running) -> None:
    ioc = running.ioc
    ioc.put("Acquire", 0)
    ioc.until("M00:RunState_RBV", "Configured")
    ioc.until("Acquire_RBV", "Done")
    ioc.caproto("put", ioc.prefix + "Acquire", "1")
    ioc.until("RunState_RBV", "Enabled")
    running.grows(*(f"{n}:Disk:Written_RBV" for n in NAMES))


def test_a_module_is_switched_while_the_others_go_on(running: Running) -> None:
    ioc = running.ioc
    before = ioc.value("M01:Pid_RBV")
    ioc.put("M01:Run", 0)
    ioc.until("M01:State_RBV", "Off")
    running.grows("M00:Disk:Written_RBV", "CAM:Disk:Written_RBV")
    ioc.caproto("put", ioc.prefix + "M01:Run", "1")
    ioc.until("M01:State_RBV", "Receiving")
    ioc.until("M01:Pid_RBV", lambda pid: pid not in (0, before))
    running.grows("M01:Disk:Written_RBV", "Stream:ImagesGood_RBV")


def test_the_disk_is_switched_and_the_frames_are_counted(running: Running) -> None:
    ioc = running.ioc
    ioc.caproto("put", ioc.prefix + "M00:Disk:On", "0")
    ioc.until("M00:Disk:On_RBV", "Off")
    running.grows("M00:Disk:Discarded_RBV", "M01:Disk:Written_RBV")
    ioc.put("Disk:On", 1)
    ioc.until("M00:Disk:On_RBV", "On")
    running.grows("M00:Disk:Written_RBV")


def test_a_killed_monitor_comes_back_and_goes_on(running: Running) -> None:
    ioc = running.ioc
    before = ioc.value("CAM:Pid_RBV")
    os.kill(before, signal.SIGKILL)
    ioc.until("CAM:State_RBV", "Failed")
    until(lambda: ioc.severity("CAM:State_RBV"), lambda severity: severity == 3)
    ioc.until("CAM:State_RBV", "Receiving")
    ioc.until("CAM:Pid_RBV", lambda pid: pid not in (0, before))
    ioc.until("CAM:Restarts_RBV", 1)
    running.grows("CAM:Disk:Written_RBV", "M00:Disk:Written_RBV")


def counters(status: Mapping[str, Any]) -> dict[str, Any]:
    """Every counter of a worker. The free space is none: whatever else uses the disk changes it."""
    groups = ("packets", "frames", "updates", "disk", "zmq")
    return {group: {**status.get(group, {}), "free_bytes": 0} for group in groups}


def at_rest(snapshots: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether nothing is under way any more: no queue, and no counter moved."""
    return all(
        now["disk"]["queued"] == 0 and counters(now) == counters(earlier[name]) for name, now in snapshots.items()
    )


def test_what_was_counted_lies_on_disk_and_nothing_is_left_behind(running: Running) -> None:
    ioc, earlier, moved_s = running.ioc, running.snapshots(), time.monotonic()
    for child in running.sources.values():
        child.ask_to_end()
    assert [child.end() for child in running.sources.values()] == [0, 0, 0, 0]

    def settled() -> dict[str, Any]:
        nonlocal earlier, moved_s
        now, before = running.snapshots(), earlier
        earlier = now
        if not at_rest(now, before):
            moved_s = time.monotonic()
        return now if time.monotonic() - moved_s > REST_S else {}

    final = until(settled, bool)
    sent = running.sources["M00"].report()
    packets = final["M00"]["packets"]
    assert packets["received"] + packets["kernel_dropped"] == sent["packets"]
    ioc.until("M00:PacketsReceived_RBV", packets["received"])
    written = {name: ioc.until(f"{name}:Disk:Written_RBV", final[name]["disk"]["written"]) for name in NAMES}
    ioc.stop_clean()
    for name, (shape, whole) in SHAPES.items():
        found = frames_on_disk(running, name, shape, whole)
        if name == "M00":  # the others were started again, and count afresh
            assert found == written[name]
        assert found >= written[name]


def frames_on_disk(running: Running, name: str, shape: tuple[int, ...], whole: int) -> int:
    """How many frames of a source are on disk, each compared with what was sent, pixel by pixel."""
    config, source = running.config, running.source(name)
    assert config.disk is not None
    reader = BufferReader(config.disk.folder / config.detector_of(source), config.module_of(source))
    extent = reader.extent()
    assert extent is not None
    module_id = config.index_of(source)
    pulses = reader.pulses(*extent)
    assert extent[0] >= FIRST_PULSE
    assert extent[1] > 1_100_000
    for pulse_id in map(int, pulses):
        frame = reader.read_frame(pulse_id)
        missing = None
        if frame.head.n_recv_packets != whole:  # the run began or ended in the middle of it
            entry = reader.sidecar(pulse_id)
            assert entry is not None
            missing = missing_flags(entry["missing"].tobytes(), whole)
            assert frame.head.n_recv_packets + missing.sum() == whole
        assert check_frame(frame.data, pulse_id, module_id, shape, "uint16", missing=missing), (name, pulse_id)
    return len(pulses)
