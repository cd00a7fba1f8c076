"""The soft-IOC of a detector server: one asyncio main that ties records, workers and run control together."""

import asyncio
import dataclasses
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import zmq.asyncio

from detectors.config import Config
from detectors.errors import CommandError
from detectors.run_state import RunState
from detectors.runtime import Runtime
from detectors.stats import flat
from detectors.workers.control import check_address, hold_lock, is_running
from ioc.bindings import Bindings
from ioc.capture import OWNER as CAPTURE
from ioc.commands import Commands
from ioc.link import NoAnswerError, ask
from ioc.loading import load_records
from ioc.observer import Observer, View
from ioc.patience import patience_s
from ioc.plan import Plan
from ioc.ports import client_environment, ports_in_use
from ioc.retention import OWNER as RETENTION
from ioc.retention import Retention
from ioc.run_control import RunControl, state_by_label
from ioc.startup import check_host
from ioc.status import OWNER, IocStatus
from ioc.stragglers import Stragglers
from ioc.supervisor import CommandLine, Supervisor, command_line
from ioc.templates import HDF5, Load, defaults, loads, workers

log = logging.getLogger(__name__)

TICK_S: Final = 0.1
"""Records are brought up to date this often, s."""

HANGS_S: Final = 10.0
"""A worker that is asked something and sent no snapshot for so long will not answer any more, s."""

HEALTH_TICKS: Final = 5
"""The worst alarm is looked for every so many ticks."""


def serve(config: Config, config_path: Path, build: CommandLine | None = None) -> int:
    """Run the IOC until SIGTERM or SIGINT; return the exit code.

    ``build`` gives the workers' command lines, if not the program's own. Raises PebbleDaqError when the start-up fails;
    nothing is left running then.
    """
    templates = loads(config)
    plan = Plan(config)
    runtime = Runtime(config.detector.prefix)
    for worker in workers(config):
        check_address(runtime.status(worker))
    with hold_lock(runtime, OWNER):
        server = Server(config, runtime, build or command_line(config_path), plan)
        return asyncio.run(server.main(templates))


class Server:
    """One detector server's IOC. ``main`` is its life."""

    def __init__(self, config: Config, runtime: Runtime, build: CommandLine, plan: Plan) -> None:
        self._config = config
        self._runtime = runtime
        self._build = build
        self._started_s = time.monotonic()
        self._status = IocStatus(
            version=_version(),
            start_time=datetime.now().astimezone().isoformat(" ", "seconds"),
            pid=os.getpid(),
        )
        self._stop = asyncio.Event()
        self._plan = plan
        self._message = ""
        self._refused = 0
        self._settled: set[str] = set()
        self._settling: dict[str, asyncio.Task[None]] = {}
        self._stragglers = Stragglers()
        self._complaints: dict[str, str] = {}
        self._asking: Counter[str] = Counter()
        self._defaults = defaults(config)
        self._retention = Retention(config.disk) if config.disk else None

    async def main(self, templates: list[Load]) -> int:
        """Start, serve until a signal, stop everything."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._context = zmq.asyncio.Context()
        self._run = RunControl(
            RunState.UNCONFIGURED,
            self._ask,
            self._sources_responding,
            patience_s=self._patience_s,
        )
        self._supervisor = Supervisor(
            self._runtime,
            self._defaults,
            self._build,
            self._start_state,
            restart=self._config.run.restart_workers,
        )
        self._commands = Commands(self._config, self._run, self._supervisor, self._ask)
        self._handlers = self._commands.handlers() | (self._retention.handlers() if self._retention else {})
        self._observer = Observer(self._context, self._runtime, self._defaults)
        tasks: list[asyncio.Task[Any]] = []
        try:
            warnings = check_host(self._config, adopted=await self._adopt())
            self._status = dataclasses.replace(self._status, host="\n".join(warnings), host_warnings=len(warnings))
            if self._retention:
                self._retention.start(self._commands.detector_folders())
            for line in ports_in_use():
                log.warning(line)
            bindings = load_records(templates, self._defaults, self._handlers)
            # The workers start while EPICS initialises.
            await self._start_workers()
            self._start_epics(bindings)
            self._show_workers()
            self._show_ioc()
            tasks = [
                asyncio.create_task(self._observer.listen(time.monotonic), name="observer"),
                asyncio.create_task(self._tick(), name="tick"),
            ]
            self._say_ready()
            stopped = asyncio.create_task(self._stop.wait(), name="stop")
            done, _ = await asyncio.wait((stopped, *tasks), return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()  # neither ends but by an error of ours
            log.info("stopping")
        finally:
            for task in (*tasks, *self._settling.values()):
                task.cancel()
            await asyncio.gather(*tasks, *self._settling.values(), return_exceptions=True)
            await asyncio.gather(self._supervisor.close(), self._stop_retention())
            self._observer.close()
            self._context.destroy(linger=0)
        return 0

    async def _stop_retention(self) -> None:
        if self._retention:
            await asyncio.to_thread(self._retention.close)

    async def _adopt(self) -> bool:
        """Take over the wishes and the run state from workers that run already; return whether there are any."""
        state = RunState.ENABLED if self._config.run.autostart else RunState.UNCONFIGURED
        found: list[RunState] = []
        running = [worker for worker in self._defaults if is_running(self._runtime, worker) is not None]
        for worker in running:
            try:
                status = await self._ask(worker, "status")
                found.append(state_by_label(status.get("run_state", state.label)))
            except (CommandError, KeyError) as error:
                log.warning("%s runs, but does not say how: %s", worker, error)
            else:
                self._commands.adopt(worker, status)
        # The furthest of them: who takes data goes on taking it, and the others follow.
        self._run.state = max(found, default=state)
        return bool(running)

    async def _start_workers(self) -> None:
        for worker, enabled in self._commands.enabled.items():
            if enabled:
                await self._supervisor.enable(worker)
        await asyncio.sleep(0)  # the keepers' first step: start the processes

    def _start_epics(self, bindings: Bindings) -> None:
        """Make the records and start EPICS's servers. Raises DatabaseError when EPICS does not start."""
        from ioc import epics
        from ioc.records import Records

        epics.set_up()
        self._records = Records(bindings, self._handlers, self._command_done)
        self._views = {
            worker: View(defaults, self._records.fields(worker)) for worker, defaults in self._defaults.items()
        }
        epics.start(self._stop.is_set)

    def _say_ready(self) -> None:
        """Tell whoever started us that records can be read, and how clients find them."""
        for line in client_environment():
            print(line)  # noqa: T201
        print(f"READY {self._config.detector.prefix} {len(self._records)}", flush=True)  # noqa: T201

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        count = 0
        while True:
            self._show_workers()
            if count % HEALTH_TICKS == 0:
                self._show_ioc()
            count += 1
            due_s = max(due_s + TICK_S, loop.time())
            await asyncio.sleep(due_s - loop.time())

    def _show_workers(self) -> None:
        now_s = time.monotonic()
        responding: set[str] = set()
        states: dict[str, RunState] = {}
        for worker, view in self._views.items():
            process = self._supervisor.processes[worker].status
            shown = view.look(process, self._observer.latest.get(worker), now_s, asked=self._asking[worker] > 0)
            self._records.show(worker, shown.values, valid=shown.valid)
            if worker == HDF5 and self._commands.capture:
                self._commands.capture.seen(shown.values)
            self._plan.connected(worker.partition(".")[2], shown.values.get("payload_bytes", 0))
            if shown.responding:
                responding.add(worker)
                if shown.values.get("run_state"):
                    states[worker] = state_by_label(shown.values["run_state"])
        self._commands.responding = frozenset(responding)
        self._show_capture_settings()
        self._settle(responding)
        self._follow(states, now_s)
        self._records.refresh()

    def _show_capture_settings(self) -> None:
        if self._commands.capture:
            self._records.show(CAPTURE, flat(self._commands.capture.settings))

    def _settle(self, responding: set[str]) -> None:
        """Bring every worker that has just begun to respond to what is wished."""
        self._settled &= responding
        for worker in responding - self._settled:
            self._start_settling(worker)

    def _follow(self, states: Mapping[str, RunState], now_s: float) -> None:
        """Bring along again who has fallen out of step, unless it comes by itself or timing leads it."""
        for worker, state in states.items():
            self._run.seen(worker, state)
        led = {
            worker: state
            for worker, state in states.items()
            if worker in self._settled
            and not self._run.comes_by_itself(worker, state)
            and not (self._config.timing and worker.startswith("pva."))
        }
        for worker in self._stragglers.due(led, self._run.state, now_s):
            self._start_settling(worker)

    def _start_settling(self, worker: str) -> None:
        if worker not in self._settling:
            self._settling[worker] = asyncio.create_task(self._settle_one(worker), name=f"settle {worker}")

    async def _settle_one(self, worker: str) -> None:
        try:
            await self._commands.settle(worker)
        except CommandError as error:
            if self._complaints.get(worker) != str(error):  # it is tried again and again, and told once
                self._message = f"{worker}: {error}"
                log.warning("%s does not follow: %s", worker, error)
            self._complaints[worker] = str(error)
        else:
            self._complaints.pop(worker, None)
        finally:
            self._settled.add(worker)
            self._settling.pop(worker, None)

    def _show_ioc(self) -> None:
        if self._retention:
            self._retention.follow(self._commands.detector_folders())
            self._records.show(RETENTION, flat(self._retention.status()))
        processes = [process.status for process in self._supervisor.processes.values()]
        alarm, health = self._records.worst(self._config.detector.prefix)
        uptime_s = time.monotonic() - self._started_s
        self._status = dataclasses.replace(
            self._status,
            uptime_s=float(int(uptime_s)),
            heartbeat=int(uptime_s),
            workers=sum(process.enabled for process in processes),
            workers_running=len(self._commands.responding),
            workers_restarted=sum(process.restarts for process in processes),
            plan=self._plan.text,
            alarm=alarm,
            health=health,
        )
        self._publish()

    def _publish(self) -> None:
        self._status = dataclasses.replace(
            self._status,
            run_state=self._run.state.label,
            acquiring=self._run.acquiring,
            message=self._run.progress or self._message,
            refused=self._refused,
        )
        self._records.show(OWNER, flat(self._status))

    def _command_done(self, record: str, refusal: str | None) -> None:
        """Show how a command ended, before its put completes."""
        self._message = f"{record.removeprefix(self._config.detector.prefix)}: {refusal}" if refusal else ""
        self._refused += refusal is not None
        self._publish()
        self._show_capture_settings()
        self._records.refresh()

    def _start_state(self, worker: str) -> RunState:
        state = self._commands.start_state(worker)
        self._run.started(worker, state)
        return state

    def _sources_responding(self) -> list[str]:
        return self._commands.sources_responding()

    async def _ask(self, worker: str, command: str, **args: Any) -> Any:
        self._asking[worker] += 1
        answered = True
        try:
            alive = partial(self._is_alive, worker, self._supervisor.processes[worker].status.pid)
            return await ask(self._context, self._runtime.command(worker), command, alive=alive, **args)
        except NoAnswerError:
            answered = False
            raise
        finally:
            self._asking[worker] -= 1
            if answered:
                self._observer.answered(worker, time.monotonic())

    def _is_alive(self, worker: str, pid: int) -> bool:
        """Whether a worker that was asked something as process ``pid`` may still answer: its snapshots go on meanwhile."""
        heard = self._observer.latest.get(worker)
        silent = heard is not None and time.monotonic() - heard.time_s > HANGS_S
        return self._supervisor.processes[worker].status.pid == pid and not silent

    def _patience_s(self, worker: str) -> float:
        source = workers(self._config)[worker]
        assert source is not None
        heard = self._observer.latest.get(worker)
        payload = heard.snapshot.get("payload_bytes") if heard else None
        return patience_s(self._config, source, payload or None)


def _version() -> str:
    with suppress(PackageNotFoundError):
        return version("pebbledaq")
    return "not installed"
