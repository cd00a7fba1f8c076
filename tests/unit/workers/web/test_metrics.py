"""Metrics as a Prometheus server reads them."""

from dataclasses import asdict, replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from detectors import stats
from detectors.totals import counters
from detectors.workers.web.metrics import LCLS_NAMES, metrics_text

RECEIVER = stats.ReceiverStatus(
    worker="udp.M00",
    packets=stats.PacketStats(received=100, placed=93, expected=100, lost=7),
    dma=stats.DmaStats(count=80, in_use=3),
    rates=stats.Rates(frames_hz=12.5),
)
MONITOR = stats.MonitorStatus(
    worker="pva.CAM", time_diff_ns=-5, updates=stats.UpdateStats(match=3, too_old=2, empty=1, timed_out=4)
)
OTHERS = (stats.StreamStatus(), stats.CaptureStatus(), stats.ImagesStatus(), stats.WebStatus())


def parsed(*found: stats.WorkerStatus, up: bool = True) -> dict:
    workers = {status.worker or status.kind: (up, asdict(status)) for status in found}
    return {family.name: family for family in text_string_to_metric_families(metrics_text(workers, "JF").decode())}


def value(families: dict, name: str, worker: str) -> float:
    family = families[name]
    return next(s.value for s in family.samples if s.labels == {"detector": "JF", "worker": worker})


def test_counters_have_their_values_labels_and_help() -> None:
    families = parsed(RECEIVER, replace(RECEIVER, worker="udp.M01", packets=stats.PacketStats(lost=1)))
    lost = families["pebbledaq_packets_lost"]
    assert (lost.type, {s.name for s in lost.samples}) == ("counter", {"pebbledaq_packets_lost_total"})
    assert [value(families, "pebbledaq_packets_lost", w) for w in ("udp.M00", "udp.M01")] == [7, 1]
    assert families["pebbledaq_packets_disabled"].documentation == "Received while the run was not enabled."
    assert value(families, "pebbledaq_up", "udp.M00") == 1


def test_names_are_those_of_lcls_where_it_has_them() -> None:
    families = parsed(RECEIVER, MONITOR)
    assert value(families, "drp_event_rate", "udp.M00") == 12.5
    assert [value(families, f"drp_dma_in_use{end}", "udp.M00") for end in ("", "_max")] == [3, 80]
    names = ("drp_match_count", "drp_tooOld_count", "drp_empty_count", "drp_timeout_count", "drp_time_diff")
    assert [value(families, name, "pva.CAM") for name in names] == [3, 2, 1, 4, -5]
    assert set(LCLS_NAMES.values()) <= families.keys()


@pytest.mark.parametrize("status", [RECEIVER, MONITOR, *OTHERS], ids=lambda s: s.kind)
def test_every_counter_is_there_with_a_help_text(status: stats.WorkerStatus) -> None:
    families = parsed(status)
    for field in counters(status):
        family = families[LCLS_NAMES.get(field, f"pebbledaq_{field.replace('.', '_')}")]
        assert family.documentation.endswith((".", ")")), field
    assert all(len(family.samples) == 1 for family in families.values())


def test_a_worker_that_never_reported_is_down() -> None:
    text = metrics_text({"udp.M00": (False, None)}, "JF").decode()
    assert 'pebbledaq_up{detector="JF",worker="udp.M00"} 0.0' in text
