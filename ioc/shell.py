"""The commands of ``pebbledaq run --shell``: ours show the workers, all others are those of EPICS's iocsh."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

HELP: Final = """\
pebble list          every worker: its state, its process, and why it does not run
pebble show NAME     all that is known of a worker: pebble show M00, pebble show hdf5
pebble help          this text
exit                 stop the server and its workers
any other line       a command of EPICS: dbl, dbgf, dbpf, casr, pvasr, asprules, help, ..."""

Snapshots = Mapping[str, Mapping[str, Any]]
"""What is known of each worker, by field."""


def answer(words: list[str], workers: Snapshots) -> str:
    """Return what a ``pebble`` command prints; ``words`` are those behind ``pebble``. Pure."""
    match words:
        case ["list"]:
            return "\n".join(_rows(workers))
        case ["show", name]:
            found = [worker for worker in workers if name in {worker, worker.partition(".")[2]}]
            if not found:
                return f"pebble show: found {name!r}, expected one of {', '.join(workers)}"
            return "\n".join(line for worker in found for line in _fields(worker, workers[worker]))
        case [] | ["help"]:
            return HELP
        case _:
            return f"pebble: found {' '.join(words)!r}, expected list, show NAME or help"


def _rows(workers: Snapshots) -> Iterable[str]:
    width = max(map(len, workers), default=0)
    for worker, values in workers.items():
        pid, why = values.get("process.pid", 0), values.get("message") or values.get("process.message", "")
        state = values.get("state", "") if values.get("process.running") else "not running"
        yield f"{worker:{width}}  {state:12}  pid {pid or '-':<8}  {why}".rstrip()


def _fields(worker: str, values: Mapping[str, Any]) -> Iterable[str]:
    yield worker
    width = max(map(len, values), default=0)
    for field, value in sorted(values.items()):
        yield f"  {field:{width}}  {value}"


class Shell:
    """Takes the lines of standard input until they end; the server goes on then. For the event loop."""

    def __init__(
        self, workers: Callable[[], Snapshots], epics: Callable[[str], None], stop: Callable[[], None]
    ) -> None:
        """``workers()`` is what is known of them, ``epics(line)`` runs a line in iocsh, ``stop()`` ends the server."""
        self._workers = workers
        self._epics = epics
        self._stop = stop

    def start(self) -> None:
        """Begin to read. The thread ends with its input, or with the process."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="shell", daemon=True).start()

    def take(self, line: str) -> None:
        """Carry out one line, and print what it says."""
        words = line.split()
        if words in (["exit"], ["quit"]):
            self._stop()
        elif words[:1] == ["pebble"]:
            print(answer(words[1:], self._workers()), flush=True)  # noqa: T201
        elif words:
            self._epics(line)
        if sys.stdin.isatty():
            print("pebbledaq> ", end="", flush=True)  # noqa: T201

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin:
            if loop.is_closed():
                return
            loop.call_soon_threadsafe(self.take, line)
