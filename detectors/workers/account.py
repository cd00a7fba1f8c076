"""The account of a worker: its counters page, and the totals over all its lives. For the data thread."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from detectors.counters_page import Block, CountersPage, PageError, Values, read_page
from detectors.runtime_names import RuntimeNames
from detectors.stats import WorkerStatus
from detectors.totals import Totals, add_base, counters, reset_base, running_total, total
from detectors.workers.lock import is_running

log = logging.getLogger(__name__)

_SHOWN_OF_OUTPUTS: Final = "enabled", "subscribers"
"""What is kept of an output beside its counters: whether it took frames (see ``settle``)."""


class Account:
    """Goes on with the page of the life before, or begins one.

    ``own`` are the blocks that the worker writes itself, by name, each with the names of its values; all other counters of
    its snapshots, which are like ``empty``, are written here with each snapshot. Raises HostError when there is no room.
    """

    def __init__(self, path: Path, empty: WorkerStatus, own: Mapping[str, Sequence[str]]) -> None:
        self.last: Values = {}
        """What the life before left in its own blocks: ``last.framenum``; empty in the first."""
        before, totals, since_ns, lost = _read(path)
        for block in own:
            self.last |= before.get(block, {})
        names = counters(empty)
        self._base: Totals = {name: totals.get(name, 0) for name in names}
        self._since_ns, self._lost = since_ns, lost
        mine = {name for block in own.values() for name in block}
        rest: Values = {name: 0 for name in _kept(empty) if name not in mine}
        kept = {name: value for name, value in self.last.items() if name.startswith("last.")}
        blocks: dict[str, Values] = {"since": self._since, "base": self._base, "rest": rest}
        blocks |= {block: {name: kept.get(name, 0) for name in names} for block, names in own.items()}
        self._page = CountersPage.write(path, blocks)
        self._rest = self._page["rest"]

    def __getitem__(self, block: str) -> Block:
        """Return a block of the worker's own."""
        return self._page[block]

    def enter(self, snapshot: WorkerStatus) -> WorkerStatus:
        """Write the counters of a snapshot to the page, and return the snapshot with its totals."""
        kept = _kept(snapshot)
        self._rest.put(*[kept[name] for name in self._rest.names])
        return self.show(snapshot)

    def show(self, snapshot: WorkerStatus) -> WorkerStatus:
        """Return a snapshot with its totals."""
        return replace(add_base(snapshot, self._base), counted_since=since_text(self._since_ns), totals_lost=self._lost)

    def reset(self, snapshot: WorkerStatus) -> None:
        """Let all totals begin at 0 again, for a snapshot of now without them."""
        self._base = reset_base(snapshot)
        self._since_ns, self._lost = time.time_ns(), 0
        self._page["base"].put(*self._base.values())
        self._page["since"].put(*self._since.values())

    @property
    def _since(self) -> Values:
        return {"since_ns": self._since_ns, "totals_lost": self._lost}


def _read(path: Path) -> tuple[dict[str, Values], Totals, int, int]:
    """Return the blocks of the page there is, its totals, since when, and how often they were lost."""
    try:
        blocks = read_page(path)
        if blocks is None:
            return {}, {}, time.time_ns(), 0
        since = blocks["since"]
        return blocks, total(blocks), int(since["since_ns"]), int(since["totals_lost"])
    except (PageError, KeyError) as error:
        reason = error if isinstance(error, PageError) else f"{path}: the counters page has no {error}"
        log.error("%s; all totals begin at 0 again", reason)  # noqa: TRY400  the reason says it all
        return {}, {}, time.time_ns(), 1


def read_totals(runtime: RuntimeNames, worker: str) -> dict[str, float | str]:
    """Return the totals of a worker by its page, by dotted names; empty without one. If it does not run, they are settled."""
    path, make = runtime.counters(worker), total if is_running(runtime, worker) is None else running_total
    try:
        blocks = read_page(path)
        if blocks is None:
            return {}
        since = blocks["since"]
        shown = {"counted_since": since_text(int(since["since_ns"])), "totals_lost": int(since["totals_lost"])}
        return {**make(blocks), **shown}
    except (PageError, KeyError):
        return {}  # the worker says so when it starts


def reset_page(path: Path) -> None:
    """Let the totals of a worker that does not run begin at 0 again. Raises HostError."""
    blocks: dict[str, Values] | None
    try:
        blocks = read_page(path)
        if blocks is None:
            return
        totals = total(blocks)
        blocks["base"] = {name: value - totals[name] for name, value in blocks["base"].items()}
    except (PageError, KeyError):
        blocks = {"base": {}}
    CountersPage.write(path, blocks | {"since": {"since_ns": time.time_ns(), "totals_lost": 0}})


def _kept(snapshot: Any) -> Values:
    """Return what is kept of a snapshot: its counters, and of each output whether it takes frames."""
    kept: Values = {**counters(snapshot)}
    for name in kept.copy():
        output, _, counter = name.partition(".")
        if counter == "written":
            kept |= {f"{output}.{shown}": int(getattr(getattr(snapshot, output), shown)) for shown in _SHOWN_OF_OUTPUTS}
    return kept


def since_text(since_ns: int) -> str:
    """Return a time as it is shown: local, to the second."""
    return datetime.fromtimestamp(since_ns / 1e9).astimezone().isoformat(" ", "seconds")
