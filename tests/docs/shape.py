"""Whether what a command printed is what its page shows, but for what differs from run to run."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"\d[\d,_]*(\.\d+)?(e[-+]?\d+)?")
_DAY = re.compile(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b")


def shape(line: str) -> str:
    """A line without its numbers, the day of a time, the widths of its columns, what a terminal does not show, and late pulses."""
    line = re.sub(r"; \d+ pulses late: the rate is too high$", "", _DAY.sub("#", line.replace("\0", "")))
    line = re.sub(r"([━─═])\1+", r"\1", _NUMBER.sub("#", line))
    return " ".join(re.sub(r"(?<!\w)-#", "#", line).split())


def _pattern(line: str) -> str:
    if line.strip() == "...":
        return r"(?:.*\n)*?"
    return re.escape(shape(line)).replace(r"\.\.\.", ".*") + "\n"


def agrees(shown: Sequence[str], printed: Sequence[str], *, to_the_end: bool = True) -> bool:
    """Whether the lines are alike; those of a command that goes on need only begin so."""
    text = "".join(f"{shape(line)}\n" for line in _stripped(printed))
    pattern = "".join(map(_pattern, _stripped(shown)))
    return bool(re.fullmatch(pattern, text) if to_the_end else re.match(pattern, text))


def _stripped(lines: Sequence[str]) -> list[str]:
    return "\n".join(lines).rstrip().splitlines()
