"""A process that runs a user's function, and adds up its results: what it does, and its main program.

``Caller`` starts it as ``python -m detectors.workers.process.function_process FD SPEC NAME`` and sends one request at a time on the
socket FD; it ends with the socket. Results go back pickled, so that the worker can hand them on unread.
"""

import contextlib
import ctypes
import os
import pickle
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np

from detectors.errors import PebbleDaqError
from detectors.image_head import ImageHead
from detectors.pools.region import Region
from detectors.processing.function import Processing, Result, load
from detectors.workers.process.messages import Results, StoredImage

_PR_SET_PDEATHSIG: Final = 1
"""Linux: end with the thread that started this process. Source: prctl(2)."""


class FunctionProcess:
    """The requests of one such process. One that runs the function adds nothing up, so that a total outlives it."""

    def __init__(self, processing: Processing) -> None:
        self._processing = processing
        self._memory: Region | None = None
        self._generation = 0
        self._total: Result | None = None
        self._last: Result = {}
        self._images = 0
        self._head = ImageHead(0)

    @property
    def requests(self) -> Mapping[str, Callable[..., Any]]:
        """What may be asked, by name."""
        return {"image": self._image, "add": self._add, "results": self._results, "reset": self._reset}

    def _image(self, stored: StoredImage) -> bytes:
        """Return the pickled result of one image."""
        if self._memory is None or self._generation != stored.generation:
            self._memory, self._generation = Region.attach(stored.path), stored.generation
        dtype = np.dtype(stored.dtype)
        nbytes = dtype.itemsize * int(np.prod(stored.shape))
        pixels = self._memory.array[stored.offset : stored.offset + nbytes].view(dtype).reshape(stored.shape)
        return pickle.dumps(self._processing(pixels, stored.head), protocol=pickle.HIGHEST_PROTOCOL)

    def _add(self, pickled: bytes, head: ImageHead) -> None:
        """Add the result of an image to the total."""
        result: Result = pickle.loads(pickled)  # noqa: S301  of a process of this worker
        self._total = result if self._total is None else self._processing.combine(self._total, result)
        self._last, self._head = result, head
        self._images += 1

    def _results(self) -> Results | None:
        """Return what there is; None before the first image."""
        if self._total is None:
            return None
        copies = {name: array.copy() for name, array in self._total.items()}  # ``finish`` may change them in place
        return Results(self._processing.finish(copies), self._last, self._images, self._head)

    def _reset(self) -> None:
        """Begin a new total."""
        self._total, self._last, self._images = None, {}, 0


def serve(connection: Connection, spec: str) -> None:
    """Load the function and answer requests until the other side closes: each answer is an error, or "", and a value."""
    try:
        requests = FunctionProcess(load(spec)).requests
    except PebbleDaqError as error:
        connection.send((str(error), None))
        return
    connection.send(("", None))
    while True:
        name, *arguments = connection.recv()
        try:
            answer = "", requests[name](*arguments)
        except PebbleDaqError as error:
            answer = str(error), None
        connection.send(answer)


def main() -> None:
    """Serve the worker that started this process, and end with it."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the worker settles what is under way, and then ends us
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the function prints is no READY line
    with contextlib.suppress(EOFError, ConnectionError):
        serve(Connection(int(sys.argv[1])), sys.argv[2])


if __name__ == "__main__":
    main()
