"""One worker's process: started or adopted, watched, restarted, and ended.

A worker that runs already, found by its lock, is adopted: an IOC can be restarted while data is taken.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from detectors.runtime_names import RuntimeNames
from detectors.workers import logs
from detectors.workers.account import reset_page
from detectors.workers.lock import hold_lock, is_running, remove_leftovers
from ioc.roster import Roster

log = logging.getLogger(__name__)

FIRST_DELAY_S: Final = 1.0
"""Delay before a worker that ended by itself is restarted, s; it doubles each time."""
LONGEST_DELAY_S: Final = 30.0
STEADY_S: Final = 60.0
"""After a worker ran for so long, the delay is the first one again, s."""
KILL_MARGIN_S: Final = 1.0
"""A worker that did not end so long after its drain time is killed, s."""

_CONFIG_ERROR: Final = 2
"""Exit code of a worker that refuses its configuration: a restart would change nothing."""
_LOOK_S: Final = 1.0
"""A worker that stays down is looked for this often, s."""
_LAST_OUTPUT_S: Final = 0.5
_MESSAGE_LIMIT: Final = 250


class WorkerProcess:
    """Keeps one worker running while it is enabled."""

    def __init__(
        self,
        runtime: RuntimeNames,
        roster: Roster,
        worker: str,
        command: Callable[[], Sequence[str]],
        *,
        restart: bool,
        drain_s: float,
    ) -> None:
        self.worker = worker
        self._processes = roster.processes
        self._runtime = runtime
        self._command = command
        self._restart = restart
        self._kill_after_s = drain_s + KILL_MARGIN_S
        self._leave = asyncio.Event()
        self._again = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._switching = asyncio.Lock()
        self._last_line = ""

    async def enable(self) -> None:
        """Start the worker, or adopt it, unless that was done."""
        async with self._switching:
            if self._keeper is not None and not self._keeper.done():
                self._again.set()  # one that stays down is started again
                return
            self._leave.clear()
            self._note(enabled=True, message="")
            self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.worker}")
            self._keeper.add_done_callback(self._kept)

    async def disable(self) -> None:
        """End the worker, and return when it has ended and nothing of it is left."""
        async with self._switching:
            self._note(enabled=False)
            self._leave.set()
            if self._keeper is not None:
                await self._keeper
            self._note(message="")

    def reset_counters(self) -> None:
        """Let the totals of the worker begin at 0 again. Raises HostError when it runs."""
        with hold_lock(self._runtime, self.worker):
            reset_page(self._runtime.counters(self.worker))
        self._note()  # shown again

    def _note(self, **changes: Any) -> None:
        self._processes[self.worker] = replace(self._processes[self.worker], **changes)

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        """Log an error of ours that ended the watching when it happens, not when its result is read."""
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            log.error("%s: is no longer watched", self.worker, exc_info=error)
            self._note(running=False, message=f"no longer watched: {error}")

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        delay_s = FIRST_DELAY_S
        while not self._leave.is_set():
            started_s = loop.time()
            try:
                code = await self._live()
            except OSError as error:
                code, self._last_line = None, f"cannot be started: {error}"
            remove_leftovers(self._runtime, self.worker)
            message = self._how_it_ended(code)
            self._note(running=False, adopted=False, pid=0, message=message)
            if self._leave.is_set():
                return
            again = self._restart and code != _CONFIG_ERROR
            log.error("%s: %s; %s", self.worker, message, "will be restarted" if again else "stays down")
            if not again:
                await self._stay_down()
                continue
            if loop.time() - started_s > STEADY_S:
                delay_s = FIRST_DELAY_S
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leave.wait(), delay_s)
                return
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)
            self._note(restarts=self._processes[self.worker].restarts + 1, message="")

    async def _stay_down(self) -> None:
        """Wait until it is to run again: enabled once more, or started by another program, a service manager say."""
        self._again.clear()
        events = [asyncio.create_task(event.wait()) for event in (self._leave, self._again)]
        try:
            while is_running(self._runtime, self.worker) is None:
                done, _ = await asyncio.wait(events, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    return
        finally:
            for event in events:
                event.cancel()

    def _how_it_ended(self, code: int | None) -> str:
        if code is None:
            how = "ended"
        elif code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        return f"{how}: {self._last_line}"[:_MESSAGE_LIMIT] if self._last_line else how

    async def _live(self) -> int | None:
        """Start or adopt the worker and wait for its end; return its exit code, None if it was not our child."""
        self._last_line = ""
        pid = is_running(self._runtime, self.worker)
        if pid:
            with suppress(ProcessLookupError):
                return await self._adopt(pid)
        child = await asyncio.create_subprocess_exec(
            *self._command(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._began(child.pid, adopted=False)
        assert child.stdout is not None
        output = asyncio.create_task(self._listen(child.stdout))
        try:
            await self._until_end(asyncio.create_task(child.wait()), child.send_signal)
            with suppress(TimeoutError):  # a grandchild may hold the pipe open
                await asyncio.wait_for(output, _LAST_OUTPUT_S)
        finally:
            output.cancel()
        return child.returncode

    async def _adopt(self, pid: int) -> None:
        """Watch a worker that is not our child. Raises ProcessLookupError when it has just ended."""
        descriptor = os.pidfd_open(pid)
        try:
            loop = asyncio.get_running_loop()
            ended: asyncio.Future[None] = loop.create_future()

            def on_end() -> None:
                loop.remove_reader(descriptor)
                ended.set_result(None)

            loop.add_reader(descriptor, on_end)
            self._began(pid, adopted=True)
            log.info("%s: adopted, running as process %d", self.worker, pid)
            await self._until_end(ended, lambda number: signal.pidfd_send_signal(descriptor, number))
        finally:
            os.close(descriptor)

    def _began(self, pid: int, *, adopted: bool) -> None:
        now_s = asyncio.get_running_loop().time()
        self._note(running=True, adopted=adopted, pid=pid, started_s=now_s, message="")

    async def _until_end(self, end: asyncio.Future[int] | asyncio.Future[None], send: Callable[[int], None]) -> None:
        """Wait for the end; end it with signals when the worker is disabled."""
        leave = asyncio.create_task(self._leave.wait())
        try:
            await asyncio.wait((end, leave), return_when=asyncio.FIRST_COMPLETED)
            for number in (signal.SIGTERM, signal.SIGKILL):
                if end.done():
                    break
                with suppress(ProcessLookupError):
                    send(number)
                await asyncio.wait((end,), timeout=self._kill_after_s)
        finally:
            leave.cancel()

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        """Log the worker's output as its own, at its own level, and remember the last line."""
        while True:
            try:
                line = (await stream.readline()).decode(errors="replace").rstrip()
            except ValueError:  # longer than the reader's limit; what follows is read as the next line
                continue
            if not line and stream.at_eof():
                return
            if not line:
                continue
            level, message = logs.parse(line) or (_level(line), line)
            if not message.startswith("READY"):
                self._last_line = message.removeprefix("pebbledaq: ")
            log.log(level, message, extra={"worker": self.worker})


def _level(line: str) -> int:
    """Return the level of a line that was not logged but printed: an error that ended the worker, or a traceback."""
    return logging.ERROR if line.startswith(("pebbledaq: ", "Traceback")) else logging.INFO
