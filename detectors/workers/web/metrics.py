"""The counters of all workers as OpenMetrics. Pure.

A metric is named ``pebbledaq_`` and the dotted name of its field, ``pebbledaq_packets_lost_total``; where LCLS-II has a name
for the same thing, it has that name. Its help text is what ``detectors.stats`` says of the field.
"""

import ast
import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition
from prometheus_client.registry import Collector, CollectorRegistry

from detectors import stats
from detectors.totals import counters

CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

LCLS_NAMES: Final[Mapping[str, str]] = {
    "rates.frames_hz": "drp_event_rate",
    "rates.packets_hz": "drp_update_rate",
    "updates.match": "drp_match_count",
    "updates.empty": "drp_empty_count",
    "updates.too_old": "drp_tooOld_count",
    "updates.timed_out": "drp_timeout_count",
    "time_diff_ns": "drp_time_diff",
    "latency_us": "drp_pv_latency",
    "dma.in_use": "drp_dma_in_use",
    "dma.count": "drp_dma_in_use_max",
    "pebble.in_use": "drp_pebble_in_use",
    "pebble.count": "drp_pebble_in_use_max",
    "transition.in_use": "drp_trbufs_in_use",
    "transition.count": "drp_trbufs_in_use_max",
}
"""LCLS-II's names by field. Its counters lack the ending that OpenMetrics gives counters: their type is unknown."""

_KINDS: Final = {
    "receiver": stats.ReceiverStatus,
    "monitor": stats.MonitorStatus,
    "stream": stats.StreamStatus,
    "hdf5": stats.CaptureStatus,
    "images": stats.ImagesStatus,
    "web": stats.WebStatus,
    "process": stats.ProcessingStatus,
}
_HEAD: Final = frozenset(field.name for field in dataclasses.fields(stats.WorkerStatus)) - {"totals_lost"}


def metrics_text(workers: Mapping[str, tuple[bool, Mapping[str, Any] | None]], detector: str) -> bytes:
    """Return the metrics of the workers: by name whether each responds, and its last snapshot."""
    registry = CollectorRegistry()
    registry.register(_Metrics(workers, detector))
    return cast("Any", exposition).generate_latest(registry)


class _Metrics(Collector):
    """What prometheus_client asks for the metrics."""

    def __init__(self, workers: Mapping[str, tuple[bool, Mapping[str, Any] | None]], detector: str) -> None:
        self._workers = workers
        self._detector = detector

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with the values of all workers that have it."""
        labels = ["detector", "worker"]
        up = GaugeMetricFamily("pebbledaq_up", "Whether the worker runs and reports.", labels=labels)
        families: dict[str, Metric] = {}
        for name, (responding, snapshot) in self._workers.items():
            where = dict(zip(labels, (self._detector, name), strict=True))
            up.add_metric([*where.values()], responding)
            known = _fields(snapshot["kind"]) if snapshot and snapshot["kind"] in _KINDS else {}
            values = stats.flat(dict(snapshot or {}))
            for field, (metric, kind, text) in known.items():
                if field in values:
                    family = families.setdefault(metric, _family(metric, text, kind))
                    family.add_sample(metric + ("_total" if kind == "counter" else ""), where, values[field])
        yield up
        yield from families.values()


def _family(name: str, text: str, kind: str) -> Metric:
    if kind == "counter":
        return CounterMetricFamily(name, text, labels=[])
    return Metric(name, text, kind)


@cache
def _fields(kind: str) -> dict[str, tuple[str, str, str]]:
    """Return every number of a kind of snapshot by dotted name: its metric, the metric's type, and its help text."""
    empty = _KINDS[kind]()
    counted = counters(empty)
    found: dict[str, tuple[str, str, str]] = {}
    for field, text in _help(type(empty), ""):
        if field in _HEAD:
            continue
        lcls = LCLS_NAMES.get(field)
        type_ = "gauge" if field not in counted else "unknown" if lcls else "counter"
        found[field] = lcls or f"pebbledaq_{field.replace('.', '_')}", type_, text
    return found


def _help(kind: type, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the numbers of a dataclass by dotted name, with what is said below each, or else the words of its name."""
    said = _said(kind)
    for field in dataclasses.fields(kind):
        name = prefix + field.name
        if dataclasses.is_dataclass(field.default_factory):
            yield from _help(field.default_factory, f"{name}.")
        elif type(field.default) in (int, float, bool):
            words = " ".join(name.replace(".", " ").split("_"))
            yield name, said.get(field.name) or f"{words[0].upper()}{words[1:]}."


@cache
def _said(kind: type) -> dict[str, str]:
    """Return the docstrings of the fields of a dataclass, its bases' included, each on one line."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        body = ast.parse(inspect.getsource(base)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found
