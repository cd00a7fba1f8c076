"""Why a setpoint cannot take a value, by its record alone: no such choice, not a number, beyond the limits."""

import math
from typing import Any

from ioc.bindings import StaticRecord


def refusal(record: StaticRecord, value: Any) -> str:
    """Return why a record cannot take ``value``; empty when it can.

    Numbers must lie within LOPR and HOPR: EPICS itself changes those outside DRVL and DRVH silently.
    """
    choices = record.choices
    low, high = float(record.fields.get("LOPR", 0)), float(record.fields.get("HOPR", 0))
    if choices and value >= len(choices):
        return f"found {value}, expected one of {', '.join(choices)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"found {value}, expected a number"
    if low < high and not low <= value <= high:
        return f"found {value}, expected {low:.17g} to {high:.17g}"
    return ""
