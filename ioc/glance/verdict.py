"""What is known of each worker, and the one word for all of them, with its reasons. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from detectors.balance import OUTPUTS
from detectors.workers.losses import CAUSES, LIVE_LOSSES, LOSSES, losses_of

_BAD_STATES: Final = "Failed", "Failing", "Stalled", "Paused", "Connecting", "OutOfStep"
_BAD_OUTPUTS: Final = "Failing", "Full", "Failed"


class Word(IntEnum):
    """How a system is, the worst last."""

    GOOD = 0
    OFF = 1
    LOSING = 2
    BROKEN = 3

    @property
    def colour(self) -> str:
        """The colour that it is shown in."""
        return {Word.GOOD: "green", Word.OFF: "yellow", Word.LOSING: "yellow", Word.BROKEN: "red"}[self]


@dataclass(frozen=True, slots=True)
class WorkerView:
    """What is known of one worker."""

    name: str
    values: Mapping[str, Any]
    """Its newest snapshot by dotted names; of a worker that does not run, the totals that it left."""
    running: bool = True
    responding: bool = True
    wanted: bool = True
    """It is to run."""
    gains: Mapping[str, int] = field(default_factory=dict[str, int])
    """How much its counters of losses grew recently."""
    host: str = ""
    """The [[host]] that it is on; empty: that of the IOC."""

    @property
    def state(self) -> str:
        """Its state, in a word."""
        if not self.running:
            return "ended" if self.wanted else "Off"
        return str(self.values.get("state", "Starting")) if self.responding else "silent"

    @property
    def lost_recently(self) -> int:
        """How much was lost in the last seconds."""
        return sum(gain for name, gain in self.gains.items() if name in LOSSES)

    @property
    def lost(self) -> int:
        """How much was lost in all."""
        return sum(self.values[name] for name in losses_of(self.values))


@dataclass(frozen=True, slots=True)
class HostView:
    """What is known of one host."""

    name: str
    workers: int
    """Workers that are to run there."""
    responding: int
    silent: bool
    """Whether none of them runs, as far as is known."""


def hosts_of(workers: Iterable[WorkerView]) -> list[HostView]:
    """Return the hosts that workers are on, in their order."""
    wanted = [view for view in workers if view.host and view.wanted]
    there = {host: [view for view in wanted if view.host == host] for host in dict.fromkeys(v.host for v in wanted)}
    return [
        HostView(
            host,
            len(views),
            sum(view.running and view.responding for view in views),
            silent=not any(view.running for view in views),
        )
        for host, views in there.items()
    ]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The word for a whole system, and why."""

    word: Word
    reasons: tuple[str, ...]


def judge(workers: Iterable[WorkerView], *, ioc_running: bool | None = None) -> Verdict:
    """Return the word for a system. ``ioc_running`` None: its IOC is not asked for."""
    views = list(workers)
    if not any(view.running for view in views):
        return Verdict(Word.OFF, ("no worker runs",))
    silent = {host.name: host for host in hosts_of(views) if host.silent}
    found = [(Word.BROKEN, f"no answer from the host {host.name} ({host.workers} workers)") for host in silent.values()]
    found += [finding for view in views if view.host not in silent for finding in _findings(view)]
    if ioc_running is False:
        found.append((Word.GOOD, "the IOC does not run: no PVs, and a worker that ends is not started again"))
    found.sort(key=lambda finding: -finding[0])  # the worst first, else in the order of the workers
    return Verdict(max((word for word, _ in found), default=Word.GOOD), tuple(reason for _, reason in found))


def _findings(view: WorkerView) -> Iterator[tuple[Word, str]]:
    if not view.running:
        if view.wanted:
            yield Word.BROKEN, f"{view.name} does not run" + (f" on {view.host}" if view.host else "")
        return
    if not view.responding:
        yield Word.BROKEN, f"{view.name} runs and sends no snapshots"
        return
    if view.state in _BAD_STATES:
        message = view.values.get("message")
        yield Word.BROKEN, f"{view.name} is {view.state}" + (f": {message}" if message else "")
    for output in OUTPUTS:
        state = view.values.get(f"{output}.state")
        if state in _BAD_OUTPUTS:
            message = view.values.get(f"{output}.message")
            yield Word.BROKEN, f"{view.name}: its output {output} is {state}" + (f": {message}" if message else "")
    for names, word in ((LOSSES, Word.LOSING), (CAUSES, Word.LOSING), (LIVE_LOSSES, Word.GOOD)):
        for name, words in names.items():
            if gain := view.gains.get(name):
                yield word, f"{view.name}: {gain} {words}" if names is not CAUSES else f"{view.name}: {words}"
    if view.values.get("state") == "Incomplete":
        yield Word.LOSING, f"{view.name}: {view.values.get('sync.missing', 0)} modules are missing in its images"
