"""Images that the stream of this host has compressed, for a worker that puts the same modules in step itself.

The worker goes on without them: an image that is not there compressed, or not in time, it puts together and compresses itself.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, cast

import numpy as np

from detectors.assembly.sync import Matched
from detectors.sources.compressed_images import CompressedSource
from detectors.workers.gather import Assembler
from detectors.workers.runtime import IDLE_S
from detectors.workers.wake import Wake

_PATIENCE_S: Final = 0.25
"""How long an image may wait for its compression, s; once one has waited in vain none waits until another one was compressed."""

_LOOK_S: Final = 0.02
"""Time between two looks while an image waits and none is announced, s."""

_Command = Callable[[], None]


class _Waiting(NamedTuple):
    """An image that is in step, or a command that is to be carried out after those before it."""

    what: Matched | _Command
    since_s: float


class CompressedElsewhere:
    """What ``source`` has compressed; at most ``most`` images wait for it. For one thread."""

    def __init__(self, source: CompressedSource, most: int) -> None:
        self._source, self._most = source, most
        self._waiting: deque[_Waiting] = deque()
        self._announced = -1
        self._in_vain = False
        self.taken = 0
        """Images that were compressed elsewhere."""

    @property
    def wait_s(self) -> float:
        """How long to wait before the next look, s."""
        return _LOOK_S if self._waiting else IDLE_S

    @property
    def waits(self) -> bool:
        """Whether images wait."""
        return bool(self._waiting)

    def ask(self, wake: Wake, *, on: bool) -> None:
        """Have all images compressed from now on, or no longer; ``wake`` watches for them. Idempotent. Raises HostError."""
        if on == self._source.asks:
            return
        for descriptor in self._source.descriptors:
            wake.unwatch(descriptor)
        self._source.ask(on=on)
        self._in_vain = False
        for descriptor in self._source.descriptors:
            wake.watch(descriptor)

    def ready(self, matched: Iterable[Matched]) -> Iterator[Matched]:
        """Yield images that are in step, in their order, when they are compressed or when that is not to be waited for any longer."""
        now = time.monotonic()
        self._waiting.extend(_Waiting(one, now) for one in matched)
        announced = self._source.announced()
        if announced != self._announced:
            self._announced, self._in_vain = announced, False
        while self._waiting and self._is_due(self._waiting[0], now):
            what = self._waiting.popleft().what
            if isinstance(what, Matched):
                yield what
            else:
                what()

    def take(self, matched: Matched, assembler: Assembler, out: np.ndarray) -> int:
        """Put an image compressed into ``out`` (uint8) and return its bytes; 0 when it is not there, or is not what is in step."""
        image = self._source.take(matched.pulse_id, out) if self._source.asks else None
        if image is None:
            return 0
        found = assembler.assemble(matched, None)
        if found is None:
            return 0
        head = found.head._replace(missing=())  # messages do not have it
        stored = image.header
        if (stored.head, stored.shape, stored.dtype) != (head, found.shape, found.dtype):
            return 0
        self.taken += 1
        return image.chunk.nbytes

    def in_turn(self, command: Callable[..., Any]) -> Callable[..., Any]:
        """Return a command that is carried out after the images that were in step before it."""

        def later(**arguments: Any) -> Any:
            if not self._waiting:
                return command(**arguments)
            answer: Future[Any] = Future()
            self._waiting.append(_Waiting(lambda: _carry_out(answer, lambda: command(**arguments)), time.monotonic()))
            return answer

        return later

    def close(self) -> None:
        """Let go of the memory. Idempotent."""
        self._source.close()

    def _is_due(self, first: _Waiting, now: float) -> bool:
        if not isinstance(first.what, Matched) or not self._source.asks or len(self._waiting) > self._most:
            return True
        if first.what.pulse_id > self._announced and not self._in_vain:
            self._in_vain = now - first.since_s > _PATIENCE_S or not self._source.is_there
            return self._in_vain
        return True


def _carry_out(answer: "Future[Any]", command: Callable[[], Any]) -> None:
    """Carry a command out, unless it was cancelled, and pass its answer on."""
    if not answer.set_running_or_notify_cancel():
        return
    try:
        found = command()
    except Exception as error:  # noqa: BLE001  the caller gets it as the answer
        answer.set_exception(error)
        return
    if isinstance(found, Future):
        cast("Future[Any]", found).add_done_callback(lambda done: _pass_on(done, answer))
    else:
        answer.set_result(found)


def _pass_on(done: "Future[Any]", answer: "Future[Any]") -> None:
    error = done.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())
