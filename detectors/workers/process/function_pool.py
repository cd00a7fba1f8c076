"""The processes that run a user's function on images, with a thread of the worker for each."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

from detectors.errors import ConfigError, ProcessingError
from detectors.pools.buffer_pool import PooledBuffer
from detectors.workers.process.caller import Caller, Loading, ProcessGoneError
from detectors.workers.process.fates import ImageFate, ImageFates
from detectors.workers.process.messages import StoredImage


@dataclass(frozen=True, slots=True)
class ImageJob:
    """An image that was taken for the function."""

    image: StoredImage
    slot: PooledBuffer
    """Its memory, which it keeps until it is settled: the slots bound what is under way."""
    complete_s: float
    """When all of it was there, on the monotonic clock."""
    fates: ImageFates

    def settle(self, fate: ImageFate) -> None:
        """Count what became of it, and release its slot."""
        self.slot.release()
        self.fates.settle(fate)

    def fail(self, reason: str) -> None:
        """Count it as failed, and release its slot."""
        self.slot.release()
        self.fates.fail(reason)


class FunctionPool:
    """Runs the function on one image in each process. For one thread.

    ``done(job, result)`` is called on the threads of the processes, with the pickled result.
    """

    def __init__(self, spec: str, workers: int, loading: Loading, done: Callable[[ImageJob, bytes], None]) -> None:
        self._loading = loading
        self._done = done
        self._jobs: SimpleQueue[ImageJob | None] = SimpleQueue()
        self._callers = [Caller(spec, f"function-{number}") for number in range(workers)]
        self._threads = [
            threading.Thread(target=loading.run, args=(partial(self._run, c),), name=c.name) for c in self._callers
        ]
        for thread in self._threads:
            thread.start()

    @property
    def running(self) -> int:
        """Processes that run."""
        return sum(caller.running for caller in self._callers)

    def submit(self, job: ImageJob) -> None:
        """Let the next free process have an image; it is settled by ``done``, unless it fails or is lost."""
        self._jobs.put(job)

    def drop_waiting(self) -> None:
        """Drop the images that wait for a process."""
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return
            if job is not None:
                job.settle("dropped")

    def close(self) -> None:
        """End the processes and threads; images that are not settled are lost."""
        for caller in self._callers:
            caller.end()
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        for caller in self._callers:
            caller.close()

    def _run(self, caller: Caller) -> None:
        self._loading.load(caller)
        while (job := self._jobs.get()) is not None:
            try:
                result = caller.ask("image", job.image)
            except ProcessingError as error:
                job.fail(str(error))
            except (ProcessGoneError, ConfigError):
                job.settle("lost")
                self._loading.load_again(caller, job.fates)
            else:
                self._done(job, result)
