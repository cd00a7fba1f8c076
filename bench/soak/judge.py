"""Does it agree? What was sent against what was counted, and against every byte on disk."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.soak.result import Result
from bench.soak.rig import Rig
from bench.soak.setup import CAMERA, GEOMETRY
from detectors.balance import balance
from detectors.config import PvaSection, UdpSection
from detectors.stats import MonitorStatus, ReceiverStatus
from detectors.worker_names import worker_name
from ioc.demo.audit import ReadBack, Sent, compare_camera, compare_module, read_back
from sim.pattern import first_mismatch, missing_flags


def mismatch(data: np.ndarray, pulse_id: int, module_id: int, missing_mask: bytes) -> int | None:
    """Return the first wrong pixel of a frame or image, or None."""
    missing = missing_flags(missing_mask, GEOMETRY.packets_per_frame) if missing_mask else None
    return first_mismatch(data, pulse_id, module_id, data.shape, data.dtype, missing=missing)


def sent_of(rig: Rig, source: UdpSection | PvaSection, report: Mapping[str, Any]) -> Sent:
    """Return what should lie on disk of a source."""
    assert rig.config.disk is not None
    folder, module = rig.config.disk.folder / rig.config.detector_of(source), rig.config.module_of(source)
    if isinstance(source, UdpSection):
        pulses = range(report["first_pulse"], report["last_pulse"] + 1)
        return Sent(folder, module, pulses, GEOMETRY.packets_per_frame, report["first_frame"])
    pulses = range(report["first_pulse"], report["last_pulse"] + 1, rig.setup.pulses_per_image)
    return Sent(folder, module, pulses, packets=1)


def read(rig: Rig, result: Result, source: UdpSection | PvaSection, report: Mapping[str, Any]) -> ReadBack:
    """Read back all that was stored of a source, and tell of frames that are not as they were sent."""
    found = read_back(sent_of(rig, source, report), mismatch)
    result.expect(f"{source.name}: frames that differ from the pattern", found.wrong, 0)
    result.problems += found.problems
    result.notes.append(
        f"{source.name}: read back {found.frames} frames, {found.bytes / 1e9:.2f} GB, every pixel compared"
    )
    return found


def compare_sources(
    rig: Rig, result: Result, final: Mapping[str, Any], reports: Mapping[str, Any], updates_before: int
) -> None:
    """Compare what every source sent with its worker's counters, for workers that lived through the whole run."""
    for source in rig.config.udp:
        result.lines += compare_module(source.name, reports[source.name], final[worker_name(source)])
    camera = final[f"pva.{CAMERA}"]
    result.lines += compare_camera(CAMERA, reports[CAMERA], reports["timing"], updates_before, camera)


def expect_no_loss(result: Result, name: str, status: ReceiverStatus | MonitorStatus) -> None:
    """Expect that nothing was lost anywhere."""
    if isinstance(status, ReceiverStatus):
        losses = {
            "packets lost": status.packets.lost,
            "packets dropped by the kernel": status.packets.kernel_dropped,
            "frames incomplete": status.frames.incomplete,
            "frames that found no slot": status.frames.exhausted,
        }
    else:
        u = status.updates
        losses = {
            "images missed": u.missed,
            "images that found no slot": u.exhausted,
            "images without event": u.expired,
            "events without image": u.empty + u.timed_out,
            "events missed": u.l1_missed,
            "decode errors": u.decode_errors,
        }
    losses["frames dropped by the disk"] = status.disk.dropped
    losses["sentinels overwritten"] = status.pebble.overruns
    for what, count in losses.items():
        result.expect(f"{name}: {what}", count, 0)


def expect_balance(result: Result, snapshots: Mapping[str, Any]) -> None:
    """Expect that every line of every worker's balance is zero."""
    for worker, status in snapshots.items():
        for what, rest in balance(status).items():
            result.expect(f"{worker}: balance of {what}", rest, 0)
