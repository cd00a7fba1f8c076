"""Images from modules, for every worker that wants some: put them in step, assemble, count."""

import logging
import time
from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np

from detectors.assembly.newest import NewestPulse
from detectors.assembly.sync import Matched, Rules, Synchroniser
from detectors.sources.module_stream import Modules, SeenModules
from detectors.stats import ImageStats, SyncStats
from detectors.wire.array10 import ImageHeader
from detectors.workers.runtime import QUIET_S
from detectors.workers.wake import Wake

log = logging.getLogger(__name__)

_INACTIVE_S: Final = 1.0
"""Without an image for this long the state is Idle, s."""

_MOST_ROUNDS: Final = 100
"""Rounds of messages taken in search of the newest image, at most: modules that never stop sending do not hold us."""

_TIMEOUTS_S: Final = 0.05
"""Longest wait while frames wait for other modules: those that are silent are noticed this often, s."""


class Assembler(Protocol):
    """Makes images of one shape and pixel type."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image, slowest dimension first."""
        ...

    @property
    def pixel_type(self) -> np.dtype:
        """Type of its pixels."""
        ...

    @property
    def image_bytes(self) -> int:
        """Bytes of its pixels."""
        ...

    def assemble(self, matched: Matched, out: np.ndarray | None) -> ImageHeader | None:
        """Put an image together in ``out`` (uint8[image_bytes]), if given; None when what it is made of is gone."""
        ...


class Members(Protocol):
    """What is put in step and makes up images: the modules of a detector, or parts that each have some of them."""

    names: tuple[str, ...]
    """Names of the modules, in the order of the image."""
    rules: Rules
    """How the members are put in step."""

    @property
    def assembler(self) -> Assembler | None:
        """Another one whenever the images change; None while they are not known."""
        ...

    def open(self) -> Modules | SeenModules:
        """Find the members. Raises HostError."""
        ...

    def follow(self) -> None:
        """Follow images that change their shape or type."""
        ...

    @property
    def lost(self) -> int:
        """Messages that are known to have been lost on their way."""
        ...

    def missing_of(self, dead: int) -> int:
        """Return the mask of the modules that are missing, when the members in the mask ``dead`` are."""
        ...


class Gatherer:
    """The members of one detector and the images in them. For one thread, but for the properties and the stats."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._sync = Synchroniser(members.rules)
        self._newest = NewestPulse(members.rules.modules, members.rules.missing_after_s)
        self._open: Modules | SeenModules | None = None
        self._matched = self._assembled = self._overwritten = self._good = self._filled = 0
        self._malformed = self._exhausted = 0
        self._latest: Matched | None = None
        """The newest pulse of those that were looked at."""
        self._last_image = self._last_frame = float("-inf")
        self.wait_s = 0.0
        """How long to wait for more after a step, s: see ``Part.step``."""
        self._losses_seen = 0
        self._loss_logged_at = float("-inf")

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the modules, in the order of the image."""
        return self._members.names

    @property
    def assembler(self) -> Assembler | None:
        """Another one whenever the images change; None while they are not known."""
        return self._members.assembler

    @property
    def assembled(self) -> int:
        """Images assembled so far."""
        return self._assembled

    @property
    def is_open(self) -> bool:
        """Whether the members are read."""
        return self._open is not None

    def open(self, wake: Wake | None = None, *, from_now: bool = False) -> None:
        """Find the members; ``wake``, if given, watches for their frames. Raises HostError.

        ``from_now``: frames that are there already are left out.
        """
        self._open = self._members.open()
        if from_now:
            self._open.poll()
        self._newest.forget()
        if wake:
            for descriptor in self._open.descriptors:
                wake.watch(descriptor)

    def step(self, timeout_s: float = 0.0) -> Iterator[Matched]:
        """Yield the pulses that are in step, waiting up to ``timeout_s`` for the first frame of a module.

        Assemble each before the next is asked for: the frames do not wait.
        """
        assert self._open
        arrived = self._open.poll(timeout_s)
        now = time.monotonic()
        if arrived:
            self._last_frame = now
        for module, pulse_id in arrived:
            self._sync.push(module, pulse_id, now)
            yield from self._in_step(now)
        yield from self._in_step(now)  # without those that have been silent for too long
        self.wait_s = 0.0 if arrived else _TIMEOUTS_S if self._sync.queued else QUIET_S
        self._tell_losses(now)

    def look(self) -> bool:
        """Take in what has come, for those workers that need the newest pulse only; return whether they must look often."""
        if isinstance(self._open, SeenModules):
            return False
        before = self._matched
        for _ in range(_MOST_ROUNDS):
            for matched in self.step():
                self._latest = matched
            if self.wait_s:
                break
        self._matched = before
        return True

    def newest(self) -> Matched | None:
        """Return the newest pulse, for those workers that need no other; None when nothing is new.

        The pulses before it are not counted as matched.
        """
        if isinstance(self._open, SeenModules):
            self._members.follow()
            found = self._newest.take(self._open.finished(), time.monotonic())
        else:
            self.look()
            found, self._latest = self._latest, None
        self._matched += found is not None
        return found

    def expect_all(self) -> None:
        """Wait for modules that counted as dead, too: a run begins, and they may be back."""
        self._sync.expect_all()

    def assemble(self, matched: Matched, out: np.ndarray | None) -> ImageHeader | None:
        """Gather one image; see ``ImageAssembler.assemble``. None is counted as overwritten."""
        assembler = self.assembler
        header = assembler.assemble(matched, out) if assembler else None
        if header is None:
            self._overwritten += 1
            return None
        self._assembled += 1
        self._good += header.head.is_good_frame
        self._filled += header.head.present.bit_count() < len(self.modules)
        self._last_image = time.monotonic()
        return header

    def state(self) -> tuple[str, str]:
        """Return state and message, as in ``StreamStatus``."""
        now, sync = time.monotonic(), self._sync
        if now - self._last_frame > _INACTIVE_S:
            problems = [reader.problem for reader in self._open.readers] if self._open else []
            return ("Idle" if self._matched else "Starting"), "; ".join(filter(None, problems))
        if not sync.in_step:
            return ("OutOfStep", sync.reason) if sync.losses else ("Starting", "waiting for all modules")
        if missing := self._members.missing_of(sync.missing):
            names = ", ".join(name for m, name in enumerate(self.modules) if missing >> m & 1)
            return "Incomplete", f"no frames from {names}"
        return ("Assembling" if now - self._last_image < _INACTIVE_S else "Idle"), ""

    def sync_stats(self) -> SyncStats:
        """Return the fate of the frames."""
        sync, opened = self._sync, self._open
        missing = self._members.missing_of(sync.missing)
        return SyncStats(
            received=sum(sync.received),
            matched=sum(sync.matched),
            skipped=sum(sync.skipped),
            queued=sync.queued,
            losses=sync.losses,
            malformed=self._malformed + (opened.malformed if opened else 0),
            exhausted=self._exhausted + (opened.exhausted if opened else 0),
            lost=self._members.lost,
            missing_mask=missing,
            missing=missing.bit_count(),
            skipped_of=tuple(sync.skipped),
        )

    def image_stats(self, gathered: int) -> ImageStats:
        """Return the fate of the pulses; ``gathered`` of the images were assembled with pixels."""
        return ImageStats(
            matched=self._matched,
            assembled=self._assembled,
            overwritten=self._overwritten,
            good=self._good,
            filled=self._filled,
            gathered=gathered,
        )

    def close(self) -> None:
        """Let go of the members: what waits for others is skipped. Idempotent."""
        if self._open is None:
            return
        self._open.close()
        self._malformed += self._open.malformed
        self._exhausted += self._open.exhausted
        self._open = self._latest = None
        self._sync.forget()

    def _in_step(self, now: float) -> Iterator[Matched]:
        for matched in self._sync.poll(now):
            self._matched += 1
            self._members.follow()
            yield matched

    def _tell_losses(self, now: float) -> None:
        """Log losses of step, one line a second at most."""
        if self._sync.losses > self._losses_seen and now - self._loss_logged_at >= 1:
            log.warning("out of step: %s; restarted (%d times so far)", self._sync.reason, self._sync.losses)
            self._losses_seen, self._loss_logged_at = self._sync.losses, now
