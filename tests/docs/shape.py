"""Whether what a command printed is what its page shows, but for what differs from run to run."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"\d[\d,_]*(\.\d+)?(e[-+]?\d+)?")


def shape(line: str) -> str:
    """A line without its numbers, the widths of its columns, what a terminal does not show, and whether a busy host sent late."""
    line = re.sub(r"; \d+ pulses late: the rate is too high$", "", line.replace("\0", ""))
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
