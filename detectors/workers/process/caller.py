"""The worker's side of a process that runs a user's function: it is started, asked, and started again after a kill."""

import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any, NoReturn

from detectors.errors import ConfigError, PebbleDaqError, ProcessingError
from detectors.workers.process.fates import ImageFates

log = logging.getLogger(__name__)

_PROGRAM = "detectors.workers.process.function_process"


class ProcessGoneError(PebbleDaqError):
    """The process of the function ended before it answered."""


class Caller:
    """One process, with a ``name`` that its command line shows. For one thread, but for ``end``."""

    def __init__(self, spec: str, name: str) -> None:
        self.name = name
        self.ended = False
        """It has been ended for good."""
        self._spec = spec
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    def start(self) -> None:
        """Start the process unless it runs, and wait until it has loaded the function.

        Raises ConfigError when it cannot be loaded, ProcessGoneError when the process ended.
        """
        with self._lock:
            if self.ended:
                raise ProcessGoneError(f"{self.name}: was ended")
            if self._process is not None:
                return
            ours, theirs = socket.socketpair()
            self._connection = Connection(ours.detach())
            with theirs:
                number = theirs.fileno()
                # Ctrl-C is for the worker alone: a group of its own.
                self._process = subprocess.Popen(
                    [sys.executable, "-m", _PROGRAM, str(number), self._spec, self.name],
                    pass_fds=[number],
                    process_group=0,
                )
        error, _ = self._answer()
        if error:
            self._reap()
            raise ConfigError(error)

    def ask(self, *request: Any) -> Any:
        """Return the answer to a request: its name, and arguments. The process is started when it does not run.

        Raises ProcessingError when the function fails, ProcessGoneError when the process ended, ConfigError as ``start``.
        """
        self.start()
        assert self._connection
        try:
            self._connection.send(request)
        except OSError:
            self._gone()
        error, value = self._answer()
        if error:
            raise ProcessingError(error)
        return value

    def end(self) -> None:
        """End the process at once, for good: who waits for its answer gets ProcessGoneError. Idempotent."""
        with self._lock:
            self.ended = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process, and wait for it. Idempotent; no request may be in progress."""
        self.end()
        self._reap()

    def _answer(self) -> tuple[str, Any]:
        assert self._connection
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            self._gone()

    def _gone(self) -> NoReturn:
        code = self._reap()
        raise ProcessGoneError(f"{self.name}: the process ended with {code}")

    def _reap(self) -> int | None:
        """Wait for the end of the process, and return its exit code."""
        with self._lock:
            process, self._process = self._process, None
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        if process is None:
            return None
        process.kill()
        return process.wait()


class Loading:
    """Whether all processes of a worker have loaded the function, and why one cannot. Thread-safe.

    ``ring`` is called when either is known.
    """

    def __init__(self, spec: str, processes: int, ring: Callable[[], None]) -> None:
        self.problem: Exception | None = None
        """Why a process cannot load the function, or what else ended a thread."""
        self._spec = spec
        self._missing = processes
        self._ring = ring
        self._lock = Lock()

    @property
    def done(self) -> bool:
        """Whether all have loaded it."""
        return not self._missing

    def run(self, work: Callable[[], None]) -> None:
        """Do the work of a thread; an error of ours ends the worker, not the thread alone."""
        try:
            work()
        except Exception as error:
            log.exception("a thread ended")
            self.problem = error
            self._ring()

    def load(self, caller: Caller) -> None:
        """Start a process for the first time."""
        if self._start(caller):
            with self._lock:
                self._missing -= 1
            self._ring()

    def load_again(self, caller: Caller, fates: ImageFates) -> None:
        """Start a process that has ended by itself, and count that."""
        if caller.ended:
            return
        log.warning("%s: the process of the function ended; it is started again", caller.name)
        fates.count(restarts=1)
        self._start(caller)

    def _start(self, caller: Caller) -> bool:
        try:
            caller.start()
        except ConfigError as error:
            self.problem = error
        except ProcessGoneError as error:
            if not caller.ended:
                self.problem = ConfigError(f"{self._spec}: cannot be loaded: {error}")
        else:
            return True
        self._ring()
        return False
