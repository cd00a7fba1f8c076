"""The page of losses names counters that are counted, the PVs that show them, and leaves out no fate that is a loss."""

import re
from dataclasses import asdict
from typing import Final

from detectors import stats
from detectors.balance import LINES
from detectors.config import load_config
from detectors.stats import flat
from ioc.templates import loads
from tests.unit.test_documents import ROOT

PAGE: Final = (ROOT / "docs" / "explanation" / "losses.md").read_text()
ROWS: Final = [line.strip("|").split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "`" in line]
NO_LOSS: Final = {
    "packets.placed", "packets.bad_pulse", "frames.delivered", "updates.match", "updates.placed", "updates.empty_updates",
    "sync.matched", "images.assembled",
}  # fmt: skip
"""Fates of what is kept, or was empty."""


_EXAMPLES: Final = "both", "hosts", "eiger-500k"
"""One host, several, and images that are compressed."""


def named(column: int) -> set[str]:
    return {name for row in ROWS for name in re.findall(r"`([^`]+)`", row[column])}


def counted() -> set[str]:
    kinds = (stats.ReceiverStatus(), stats.MonitorStatus(), stats.StreamStatus(), stats.CaptureStatus())
    return {name for status in kinds for name in flat(asdict(status))}


def test_the_counters_are_counted() -> None:
    assert named(2) - counted() == set()


def test_the_pvs_exist() -> None:
    found = [load_config(ROOT / "examples" / f"{name}.toml") for name in _EXAMPLES]
    records = {name.removeprefix(one.detector.prefix) for one in found for load in loads(one) for name in load.names()}
    assert named(3) - records == set()


def test_no_fate_that_is_a_loss_is_left_out() -> None:
    parts = ("packets", "frames", "updates", "sync", "images", "disk", "output")
    fates = {f"{line.part}.{fate}" for line in LINES.values() if line.part in parts for fate in line.fates}
    written = {name for name in fates if name.endswith((".written", "output.disabled"))}
    assert fates - written - NO_LOSS - named(2) == set()
