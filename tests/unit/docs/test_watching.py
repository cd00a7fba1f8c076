"""The alert rules and the dashboard name only metrics that are exported."""

import json
import re
from dataclasses import asdict
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from detectors import stats
from detectors.workers.web.metrics import metrics_text
from tests.unit.test_documents import ROOT

RULES = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana.json").read_text())
KINDS = (
    stats.ReceiverStatus(),
    stats.MonitorStatus(),
    stats.StreamStatus(),
    stats.CaptureStatus(),
    stats.ImagesStatus(),
    stats.WebStatus(),
)


def exported() -> set[str]:
    text = metrics_text({status.kind: (True, asdict(status)) for status in KINDS}, "DET").decode()
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:pebbledaq|drp)_\w+", expression))


def expressions() -> list[Any]:
    found = [pytest.param(rule["expr"], id=rule["alert"]) for rule in RULES]
    for panel in DASHBOARD["panels"]:
        found += [pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}") for target in panel["targets"]]
    return found


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_that_is_named_is_exported(expression: str) -> None:
    assert named(expression)
    assert named(expression) <= exported()
    assert expression.count("(") == expression.count(")")


def test_every_rule_says_where_how_bad_and_what_to_do() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "action"}
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_counters_are_never_watched_as_they_stand() -> None:
    for expression in (param.values[0] for param in expressions()):
        for counter in re.findall(r"(\w*\(?)(?:pebbledaq_\w+_total)", expression):
            assert counter in ("rate(", "increase("), expression


def test_no_two_panels_overlap() -> None:
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= cells
