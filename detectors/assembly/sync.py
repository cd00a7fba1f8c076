"""Modules put in step: which pulses have a frame of every module.

Everything that decides on the synchronisation lives here: pulse ids and times in, matched pulses out. Losing step is an
event to count and to recover from, never a reason to stop. Source of the rules: sf-buffer's stream assembler.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

MAX_MODULES: Final = 64
"""Module masks are 64-bit numbers."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How modules are put in step."""

    modules: int
    depth: int
    """Pulses kept waiting for one module; the oldest beyond are skipped. The slots of a pebble: older ones are overwritten."""
    pulse_id_step: int = 1
    offset_limit: int = 100
    """Pulses that modules may be apart."""
    retry_limit: int = 3
    """Attempts to bring all modules to one pulse."""
    missing_after_s: float = 1.0
    """How long a pulse waits for a module before the module counts as dead, s."""
    fill: bool = True
    """With a dead module: go on without it; else wait for it."""

    def __post_init__(self) -> None:
        assert 1 <= self.modules <= MAX_MODULES
        assert self.depth >= 1


@dataclass(frozen=True, slots=True)
class Matched:
    """One pulse to assemble."""

    pulse_id: int
    present: int
    """Mask of the modules that have it: bit m for module m."""


class Synchroniser:
    """Takes each module's pulse ids as they come and gives the pulses that all living modules have.

    Counters: every pulse pushed ends as matched or skipped, or waits:
    ``received[m] = matched[m] + skipped[m] + len(waiting of m)``.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._limit = rules.offset_limit * rules.pulse_id_step
        self._waiting: list[deque[int]] = [deque() for _ in range(rules.modules)]
        self._last_seen = [-math.inf] * rules.modules
        self._waiting_since = math.inf
        self._dead = 0
        self._last: int | None = None
        self._in_step = False
        self._jumped = False
        """Whether some modules are far ahead of the last match, and the others are given one frame each to follow."""
        self._attempts, self._target = 0, -1
        self.received = [0] * rules.modules
        self.matched = [0] * rules.modules
        self.skipped = [0] * rules.modules
        """Frames of each module that no image was made of."""
        self.losses = 0
        """Times that the modules were lost and the synchronisation was restarted."""
        self.reason = ""
        """Why that happened last."""

    @property
    def in_step(self) -> bool:
        """Whether an image was matched since the last fresh start."""
        return self._in_step

    @property
    def missing(self) -> int:
        """Mask of the modules that count as dead."""
        return self._dead

    @property
    def queued(self) -> int:
        """Frames that wait for other modules."""
        return sum(map(len, self._waiting))

    def push(self, module: int, pulse_id: int, now: float) -> None:
        """Take in one frame of a module. ``now`` is any clock that only grows, s."""
        self.received[module] += 1
        self._last_seen[module] = now
        self._dead &= ~(1 << module)
        waiting = self._waiting[module]
        newest = waiting[-1] if waiting else self._last
        if newest is not None and pulse_id <= newest:
            if newest - pulse_id <= self._limit:
                self.skipped[module] += 1  # late, or a second time
                return
            self._start_afresh(f"module {module} went back from pulse {newest} to {pulse_id}")
        if not any(self._waiting):
            self._waiting_since = now
        waiting.append(pulse_id)
        if len(waiting) > self.rules.depth:
            self._skip(module)

    def expect_all(self) -> None:
        """Wait for every module again, as at the start: a run begins."""
        self._dead = 0

    def poll(self, now: float) -> list[Matched]:
        """Return the pulses that are in step now, oldest first."""
        found: list[Matched] = []
        while self._ready(now):
            heads = [waiting[0] for waiting in self._waiting if waiting]
            largest, smallest = max(heads), min(heads)
            # Before the first match by the newest: what a module had before the others came is no loss of step.
            behind = smallest if self._in_step else min(waiting[-1] for waiting in self._waiting if waiting)
            if smallest == largest:
                found.append(self._match(largest, now))
            elif largest - behind > self._limit and self._jumped:
                self._drop_above(smallest + self._limit)
            elif largest - behind > self._limit:
                self._start_afresh(
                    f"modules {self._modules_at(behind)} and {self._modules_at(largest)} are "
                    f"{(largest - behind) // self.rules.pulse_id_step} pulses apart, at {behind} and {largest}",
                    keep=largest - self._limit,
                )
                self._jumped = True
            elif largest > self._target and self._attempts >= self.rules.retry_limit:
                self._start_afresh(f"no common pulse in {self._attempts} attempts, last at {smallest} to {largest}")
            else:
                # An attempt aims at one pulse; that a slow module takes several frames to get there is no new one.
                self._attempts += largest > self._target
                self._target = max(largest, self._target)
                self._catch_up(largest)
        return found

    def _ready(self, now: float) -> bool:
        """Return whether every module that counts has a pulse waiting."""
        if all(self._waiting):
            return True
        if not any(self._waiting):
            return False
        empty = 0
        for m, waiting in enumerate(self._waiting):
            if not waiting:
                empty |= 1 << m
                if now - max(self._waiting_since, self._last_seen[m]) >= self.rules.missing_after_s:
                    self._dead |= 1 << m
        return self.rules.fill and self._dead & empty == empty

    def _match(self, pulse_id: int, now: float) -> Matched:
        present = 0
        for m, waiting in enumerate(self._waiting):
            if waiting:
                waiting.popleft()
                self.matched[m] += 1
                present |= 1 << m
        self._waiting_since = now
        self._last = pulse_id
        self._in_step, self._jumped = True, False
        self._attempts, self._target = 0, -1
        return Matched(pulse_id, present)

    def _catch_up(self, pulse_id: int) -> None:
        """Skip what is older than the largest: no image can be made of it."""
        for m, waiting in enumerate(self._waiting):
            while waiting and waiting[0] < pulse_id:
                self._skip(m)

    def _skip(self, module: int) -> None:
        self._waiting[module].popleft()
        self.skipped[module] += 1

    def _drop_above(self, pulse_id: int) -> None:
        """Skip what is far ahead: the modules did not follow it, so it was one module's error."""
        for m, waiting in enumerate(self._waiting):
            while waiting and waiting[-1] > pulse_id:
                waiting.pop()
                self.skipped[m] += 1
        self._jumped = False

    def _start_afresh(self, reason: str, keep: int | None = None) -> None:
        """Skip everything that waits, but for the pulses from ``keep`` on."""
        self.losses += 1
        self.reason = reason
        self.forget(keep)

    def forget(self, keep: int | None = None) -> None:
        """Skip what waits, but for the pulses from ``keep`` on: what comes next need not follow it."""
        for m, waiting in enumerate(self._waiting):
            while waiting and (keep is None or waiting[0] < keep):
                self._skip(m)
        self._last = None
        self._in_step = self._jumped = False
        self._attempts, self._target = 0, -1

    def _modules_at(self, pulse_id: int) -> str:
        return "+".join(
            str(m) for m, waiting in enumerate(self._waiting) if waiting and pulse_id in {waiting[0], waiting[-1]}
        )
