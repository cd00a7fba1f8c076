"""The colours of a record's states, from its template: an alarm has its severity's colour, other states have that of their word."""

import re
from typing import Final

from ioc.screens.look import CHANGING, GOOD, INVALID, MAJOR, MINOR, QUIET, Colour
from ioc.templates import TEMPLATES

_ORDER: Final = ("ZR", "ON", "TW", "TH", "FR", "FV", "SX", "SV", "EI", "NI", "TE")
"""EPICS's prefixes of the fields of the states 0, 1, ..."""

_SEVERITIES: Final = {"MINOR": MINOR, "MAJOR": MAJOR, "INVALID": INVALID}

_WORDS: Final = {
    "None": GOOD,
    "Receiving": GOOD,
    "Writing": GOOD,
    "Publishing": GOOD,
    "Assembling": GOOD,
    "Showing": GOOD,
    "Capturing": GOOD,
    "Acquire": GOOD,
    "Enabled": GOOD,
    "Responding": GOOD,
    "Starting": CHANGING,
    "Connecting": CHANGING,
    "Configuring": CHANGING,
    "Finishing": CHANGING,
    "Deleting": CHANGING,
    "Configured": CHANGING,
    "Running": CHANGING,
}
"""Colours of states that are no alarm; those that are not here are quiet."""


def colours(template: str, record: str) -> tuple[Colour, ...]:
    """Return the colours of a record's states; ``record`` is how its name ends in the template."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    body = text.split(f'{record}") {{', 1)[1].split("\n}", 1)[0]
    fields = dict(re.findall(r'field\((\w+), "([^"]*)"\)', body))
    if "ZNAM" in fields:
        return tuple(_WORDS.get(fields[name], QUIET) for name in ("ZNAM", "ONAM"))
    return tuple(
        _SEVERITIES.get(fields.get(f"{key}SV", ""), _WORDS.get(fields[f"{key}ST"], QUIET))
        for key in _ORDER
        if f"{key}ST" in fields
    )
