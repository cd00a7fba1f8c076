"""The rows of the benchmark table."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure. ``target`` is a bound: ``<=`` when ``at_most``, else ``>=``; None: only reported."""

    name: str
    figure: float
    unit: str
    target: float | None = None
    at_most: bool = True
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.figure <= self.target if self.at_most else self.figure >= self.target

    @property
    def target_text(self) -> str:
        if self.target is None:
            return ""
        return f"{'<=' if self.at_most else '>='} {self.target:g}"

    def markdown(self) -> str:
        met = {None: "", True: "yes", False: "**no**"}[self.met]
        return f"| {self.name} | {self.figure:.3g} | {self.unit} | {self.target_text} | {met} | {self.note} |"


MARKDOWN_HEAD = "| what | figure | unit | target | met | note |\n|---|---|---|---|---|---|"


def median_ratio(ours: Iterable[float], theirs: Iterable[float]) -> float:
    """Return the median of the ratios of pairs that were measured one right after the other."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(values: Iterable[float]) -> str:
    """Return the range of values as text."""
    found = sorted(values)
    return f"{found[0]:.2g} to {found[-1]:.2g}"
