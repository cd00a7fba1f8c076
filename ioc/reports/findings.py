"""What ``verify`` and ``repair`` find."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from detectors.buffer.checks import Checked, Inconsistency


def as_list(findings: Sequence[Inconsistency]) -> list[dict[str, Any]]:
    """Return findings as JSON has them."""
    return [dataclasses.asdict(finding) for finding in findings]


def line(finding: Inconsistency) -> str:
    """Return a finding as one line."""
    where = " ".join(filter(None, (finding.module, "" if finding.pulse is None else f"pulse {finding.pulse}")))
    return f"{finding.check}: {where + ': ' if where else ''}{finding.message}"


def summary(checked: Checked) -> str:
    """Return what was checked as one line."""
    text = f"{checked.records} records in {checked.files} files"
    if checked.images:
        text += f", {checked.images} HDF5 images"
    text += f": {checked.findings} findings"
    if checked.incomplete:
        text += f"; {checked.incomplete} frames lack packets, as recorded"
    if checked.unchecked:
        text += f"; {checked.unchecked} records have no CRC"
    return text
