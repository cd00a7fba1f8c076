"""Acquisitions, as areaDetector has them: so many images, or images until stopped. One at a time.

A worker of images (``Counter``) decides which images belong to an acquisition and when it is over; ``RunControl`` takes the run
up and down. Here are the two together. A run that was begun by a transition, or when the server started, is an acquisition
that no worker knows of: it ends when it is stopped.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final

from detectors.errors import CommandError
from ioc.bindings import Handler
from ioc.camera import Camera
from ioc.counter import Counter, find_counter
from ioc.roster import Roster
from ioc.run_control import Ask, RunControl
from ioc.templates import Detector

log = logging.getLogger(__name__)

_FIRST_LOOK_S: Final = 0.02
_LONGEST_LOOK_S: Final = 0.2
_LOOKS: Final = 20
"""Whether an acquisition is over is looked at after each 20th of its time so far, within these limits, s."""

_STEP_S: Final = 0.005
"""How often what comes soon is looked for, s."""

_SETTLE_S: Final = 0.05
"""The images that were sent before a run was stopped have come when none came for so long, s."""
_MOST_LOOKS: Final = 40

_ATTEMPTS: Final = 4
_AGAIN_S: Final = 1.0
"""A run that a worker refuses to end is ended once more after so long, so many times in all, s."""

_SHOWN_S: Final = 0.05
"""Least time between the posts of Acquire_RBV = 1 and 0, s: of two at once EPICS posts only the last."""

_FLUSH_S: Final = 30.0
_SNAPSHOT_S: Final = 1.0
_ADOPT_S: Final = 5.0

IDLE, ACQUIRE, SAVING, ERROR = "Idle", "Acquire", "Saving", "Error"
INITIALIZING, ABORTING, ABORTED = "Initializing", "Aborting", "Aborted"


class _Acquisition:
    """The present acquisition. ``images``: after which it is over; 0: until stopped."""

    def __init__(self, images: int, counter: Counter, adopted: frozenset[str] = frozenset()) -> None:
        self.images = images
        self.adopted = adopted
        """The workers that take part already, and will respond soon."""
        self.counter = counter
        self.begun_s = time.monotonic()
        self.stop = asyncio.Event()
        self.over = False
        """All its images are taken."""

    @property
    def end_state(self) -> str:
        """State of the detector afterwards, if nothing failed."""
        return IDLE if self.over or not self.images else ABORTED


class AcquisitionControl:
    """The acquisitions of one detector. ``show()`` brings the records up to date; set it before EPICS starts."""

    def __init__(self, run: RunControl, ask: Ask, roster: Roster, camera: Camera, detector: Detector) -> None:
        self.show: Callable[[], None] = lambda: None
        self._run = run
        self._ask = ask
        self._roster = roster
        self._camera = camera
        self._detector = detector
        self._present: _Acquisition | None = None
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._state = IDLE
        """While an acquisition begins or ends, and after it."""
        self._message = ""

    @property
    def acquiring(self) -> bool:
        """Whether data is being taken, or an acquisition is being finished."""
        return self._present is not None or (self._run.acquiring and self._state != INITIALIZING)

    @property
    def state(self) -> str:
        """State of the detector, in areaDetector's words."""
        at_rest = self._state in (IDLE, ABORTED, ERROR)
        return ACQUIRE if at_rest and self.acquiring else self._state

    @property
    def message(self) -> str:
        """Why the last acquisition failed; empty when it did not."""
        return self._message if self._state == ERROR else ""

    def handlers(self) -> dict[str, Handler]:
        """Return every handler by the name that bindings use."""
        return {
            "camera_acquire": Handler(self._camera_acquire, lambda: int(self.acquiring)),
            "camera_acquire_end": Handler(self.acquire_end),
        }

    def adopt(self, statuses: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on with the acquisition of a worker that ran before this IOC, by the status of each that did.

        One whose last image came meanwhile is finished as if that came now. The run has been adopted.
        """
        for worker in self._detector.counters:
            known = statuses.get(worker, {}).get("acquisition", {})
            if not self._run.acquiring or not (known.get("open") or known.get("images")):
                continue
            images = known["images"]
            self._camera.adopt(images)
            log.info("acquisition %d of %s goes on", known["number"], worker)
            counter = Counter(self._ask, self._roster, worker, need=images > 0, status=statuses[worker])
            self._start(_Acquisition(images, counter, frozenset(statuses)))
            return

    async def close(self) -> None:
        """Leave the acquisition as it is: the next IOC goes on with it."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def seen(self, workers: Mapping[str, Mapping[str, Any]], now_s: float) -> None:
        """Note what the records of all workers show now."""
        counting = self._present.counter.worker if self._present else ""
        counter = counting or next(iter(self._detector.counters), "")
        self._camera.seen(workers, counter, now_s, in_run=self.acquiring and not counting)
        self._camera.show(self.state, self.message, acquiring=self.acquiring)

    async def acquire(self, on: Any) -> None:
        """Take images until stopped, or stop. Raises CommandError when a worker refuses."""
        if not on:
            await self._stop()
            return
        async with self._turn:
            await self._let_end()
            if not self.acquiring or (self._present and self._present.images):
                await self._begin(0, need=False)

    async def _camera_acquire(self, on: Any) -> None:
        if not on:
            await self._stop()
            return
        async with self._turn:
            await self._let_end()
            await self._begin(self._camera.images, need=True)

    async def _let_end(self) -> None:
        """Let an acquisition come to its end whose run has ended, by a transition."""
        if self._present and self._task and not self._run.acquiring:
            self._present.stop.set()
            await asyncio.wait((self._task,))

    async def _begin(self, images: int, *, need: bool) -> None:
        if self._present:
            raise CommandError("an acquisition is in progress; stop it first")
        counter = Counter(
            self._ask, self._roster, find_counter(self._roster, self._detector.counters, images), need=need, status=None
        )
        on_loss, timeout_s = self._camera.rules
        self._note(INITIALIZING)
        asked_ns = time.time_ns()
        try:
            await counter.begin(images, on_loss, timeout_s)
            await self._run.acquire(1)
            await self._heard({counter.worker} & self._roster.responding, asked_ns)
        except BaseException as error:
            with suppress(CommandError):
                await counter.release()
            self._note(ERROR, str(error) or type(error).__name__)
            raise
        self._start(_Acquisition(images, counter))

    def _start(self, present: _Acquisition) -> None:
        self._present = present
        self._task = asyncio.create_task(self._follow(present), name="acquisition")
        self._note(ACQUIRE)

    async def _stop(self) -> None:
        async with self._turn:
            if self._present and self._task:
                self._present.stop.set()
                await asyncio.wait((self._task,))
            await self._run.acquire(0)

    async def acquire_end(self, _: Any) -> None:
        """Return when the acquisition is over, after a start that is in progress."""
        async with self._turn:
            task = self._task
        if task:
            await asyncio.wait((task,))
        await self._run.acquire_end(_)

    async def _follow(self, present: _Acquisition) -> None:
        """Wait for the end of an acquisition, and bring it to its end; also of one that fails."""
        reason = ""
        for step in (self._wait, self._take_down, self._save):
            try:
                await step(present)
            except CommandError as error:
                reason = reason or str(error)
            except Exception as error:  # it must never end silently
                reason = reason or f"{type(error).__name__}: {error}"
                log.exception("the acquisition failed")
        if reason:
            log.error("the acquisition failed: %s", reason)
        await asyncio.sleep(present.begun_s + _SHOWN_S - time.monotonic())
        self._present = None
        self._note(ERROR if reason else present.end_state, reason)

    async def _wait(self, present: _Acquisition) -> None:
        """Return when all images are taken, or the acquisition is stopped. Raises CommandError when it fails."""
        await _until(lambda: present.adopted <= self._roster.responding, _ADOPT_S)
        while not present.stop.is_set() and self._run.acquiring:
            known = await present.counter.look()
            if known and _is_over(known):
                present.over = True
                return
            look_s = (time.monotonic() - present.begun_s) / _LOOKS
            with suppress(TimeoutError):
                async with asyncio.timeout(min(max(look_s, _FIRST_LOOK_S), _LONGEST_LOOK_S)):
                    await present.stop.wait()

    async def _take_down(self, present: _Acquisition) -> None:
        """End the run, then the acquisition in its worker when what was sent before has come."""
        self._note(SAVING if present.over or not present.images else ABORTING)
        await self._end_run()
        try:
            taken = -1
            for _ in range(_MOST_LOOKS):
                known = await present.counter.look()
                if known and _is_over(known):
                    present.over = True
                if not present.counter.worker or present.over or (known and known["taken"] == taken):
                    break
                taken = known["taken"] if known else taken
                await asyncio.sleep(_SETTLE_S)
        finally:
            await present.counter.release()

    async def _end_run(self) -> None:
        for left in reversed(range(_ATTEMPTS)):
            if not self._run.acquiring:
                return
            try:
                await self._run.acquire(0)
            except CommandError:
                if not left:
                    raise
                await asyncio.sleep(_AGAIN_S)  # a worker that hangs is left out once that is known

    async def _save(self, present: _Acquisition) -> None:
        """Return when all that was taken is in the file, and the records say so."""
        writer = self._detector.hdf5
        shown = {present.counter.worker, writer} & self._roster.responding
        if writer in shown:
            await self._ask(writer, "flush", timeout_s=_FLUSH_S)
        asked_ns = time.time_ns()
        for worker in shown:  # it publishes what it answers
            await self._ask(worker, "status")
        await self._heard(shown, asked_ns)

    async def _heard(self, workers: Collection[str], since_ns: int) -> None:
        """Return when there is a snapshot of all these workers that was made since then."""
        await _until(lambda: all(self._roster.heard[worker].made_ns >= since_ns for worker in workers), _SNAPSHOT_S)

    def _note(self, state: str, message: str = "") -> None:
        self._state, self._message = state, message
        self.show()


async def _until(good: Callable[[], bool], timeout_s: float) -> None:
    """Wait for something that is looked at now and then, for so long at most."""
    for _ in range(round(timeout_s / _STEP_S)):
        if good():
            break
        await asyncio.sleep(_STEP_S)


def _is_over(known: Mapping[str, Any]) -> bool:
    """Return whether all images are taken, by AcquisitionStats. Raises CommandError when the acquisition has failed."""
    if known["error"]:
        raise CommandError(known["error"])
    return not known["open"]
