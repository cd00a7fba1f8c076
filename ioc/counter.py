"""The worker of images that counts those of an acquisition, as the IOC asks it."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from detectors.errors import CommandError
from ioc.roster import Roster
from ioc.run_control import Ask

log = logging.getLogger(__name__)

_LOST_ANSWERS: Final = 3
"""So many status requests in a row without an answer, and the worker counts no more."""
_PAUSE_S: Final = 0.05


class CounterError(CommandError):
    """The worker that counts is lost, and the acquisition needs it."""


def find_counter(roster: Roster, counters: Sequence[str], images: int) -> str:
    """Return which of the workers ``counters``, the best first, is to count; empty when there is none.

    Raises CommandError when ``images`` need one.
    """
    found = next((name for name in counters if name in roster.responding and _counts(roster, name)), "")
    if not found and images:
        known = [name for name in counters if name in roster.processes]
        why = f"{' and '.join(known)} does not run" if known else "the configuration has no [hdf5] and no [images]"
        raise CommandError(f"no worker counts images: {why}; set ImageMode Continuous")
    return found


def _counts(roster: Roster, worker: str) -> bool:
    """Return whether a worker knows of acquisitions."""
    return "acquisition" in roster.heard[worker].snapshot


class Counter:
    """One acquisition in the worker that counts its images. Without a worker nothing is counted.

    An acquisition that does not ``need`` it goes on when it is lost.
    """

    def __init__(self, ask: Ask, roster: Roster, worker: str, *, need: bool, status: Mapping[str, Any] | None) -> None:
        """``status``: of a worker that ran before this IOC, and counts already; None of one that is to ``begin``."""
        self._ask = ask
        self._roster = roster
        self.worker = worker
        """Empty when there is none, or it was lost."""
        self._need = need
        self._pid = status["pid"] if status else 0
        self._number = status["acquisition"]["number"] if status else 0
        self._seen = status is None
        """The process has been seen to run: that of a worker that ran before this IOC is not known at once."""
        self._unanswered = 0

    async def begin(self, images: int, on_loss: str, timeout_s: float) -> None:
        """Let it count the images that arrive from now on. Raises CounterError when it does not and is needed."""
        if not self.worker:
            return
        try:
            await self._ask(self.worker, "acquire", images=images, on_loss=on_loss, image_timeout_s=timeout_s)
            status = await self._ask(self.worker, "status")
        except CommandError as error:
            self._lose(str(error))
        else:
            self._pid, self._number = status["pid"], status["acquisition"]["number"]

    async def look(self) -> Mapping[str, Any] | None:
        """Return what it counted (AcquisitionStats); None when there is none, or it does not answer.

        Raises CounterError when it is lost and needed.
        """
        if not self.worker:
            return None
        try:
            status = await self._ask(self.worker, "status")
        except CommandError as error:
            self._unanswered += 1
            pid = self._roster.processes[self.worker].pid
            self._seen |= pid == self._pid
            if self._unanswered >= _LOST_ANSWERS or (self._seen and pid != self._pid):
                self._lose(str(error))
            await asyncio.sleep(_PAUSE_S)
            return None
        self._unanswered = 0
        found = status["acquisition"]
        if status["pid"] != self._pid:
            return self._lose("it was started again")
        if found["number"] != self._number:
            return self._lose("another acquisition was begun past this server")
        return found

    async def release(self) -> None:
        """End the acquisition. Raises CommandError when the worker does not."""
        if self.worker:
            await self._ask(self.worker, "release")

    def _lose(self, why: str) -> None:
        worker, self.worker = self.worker, ""
        message = f"{worker}, which counts the images: {self._roster.processes[worker].message or why}"
        if self._need:
            raise CounterError(message)
        log.warning("%s; the run goes on", message)
