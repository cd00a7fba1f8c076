"""The soft-IOC of a detector server: its parts, its start-up in order, and its stop."""

import asyncio
import itertools
import logging
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import zmq.asyncio

from detectors.config import Config
from detectors.errors import CommandError
from detectors.hosts import host_of, reach
from detectors.run_state import RunState
from detectors.worker_names import worker_name, workers
from detectors.workers.commands import check_address
from detectors.workers.lock import hold_lock, is_running
from detectors.workers.service import ServiceNotifier
from ioc.access import ACCESS_FILE, substitutions
from ioc.autosave import Autosave, autosave_file
from ioc.clocks import Clocks
from ioc.commands import Commands
from ioc.events import EventLog, LastWarning
from ioc.face import Face
from ioc.following import Follower
from ioc.hosts import Hosts
from ioc.link import Link
from ioc.loading import load_records
from ioc.observer import Observer
from ioc.patience import patience_s
from ioc.plan import Plan
from ioc.ports import choose_interfaces, client_environment, ports_in_use
from ioc.remote import RemoteWorker
from ioc.retention import Retention
from ioc.roster import Roster
from ioc.run_control import RunControl, state_by_label
from ioc.runs import Runs
from ioc.settings import Settings
from ioc.shell import Shell
from ioc.startup import check_host
from ioc.status import OWNER
from ioc.supervisor import CommandLine, Supervisor, command_line
from ioc.templates import Detector, Load, defaults, detectors, loads

if TYPE_CHECKING:
    from ioc.display import Display  # imports EPICS
    from ioc.table_server import TableServer

log = logging.getLogger(__name__)

TICK_S: Final = 0.1
"""The workers' records are brought up to date this often, s."""

IOC_TICKS: Final = 5
"""The IOC's own records are brought up to date every so many ticks."""


def serve(config: Config, config_path: Path, build: CommandLine | None = None, *, shell: bool = False) -> int:
    """Run the IOC until SIGTERM or SIGINT; return the exit code.

    ``build`` gives the workers' command lines, if not the program's own. With ``shell`` commands are read from standard
    input. Raises PebbleDaqError when the start-up fails;
    nothing is left running then.
    """
    templates = loads(config)
    plan = Plan(config)
    runtime = config.runtime_names
    for worker in workers(config):
        check_address(runtime.status(worker))

    async def run() -> int:
        return await Server(config, build or command_line(config_path), plan).main(templates, shell=shell)

    with hold_lock(runtime, OWNER):
        return asyncio.run(run())


class Server:
    """The parts of one server. Made, and its ``main`` run, on the event loop."""

    def __init__(self, config: Config, build: CommandLine, plan: Plan) -> None:
        self._config = config
        self._runtime = config.runtime_names
        self._plan = plan
        self._service = ServiceNotifier.take()
        self._stop = asyncio.Event()
        self._context = zmq.asyncio.Context()
        self._roster = roster = Roster(workers(config))
        reaches = {worker: reach(config, worker) for worker in roster}
        self._link = link = Link(self._context, reaches, roster)
        self._observer = Observer(self._context, reaches.values(), roster)
        self._hosts = Hosts(config, roster, time.monotonic())
        self._clocks = Clocks(self._hosts, roster, link.connect)
        self._settings = settings = Settings(config, roster)
        faces = [(detector, self._new_run(detector)) for detector in detectors(config)]
        self._runs = runs = Runs({worker_name(source): run for detector, run in faces for source in detector.sources})
        self._faces = [
            Face(
                config,
                detector,
                run,
                link.ask,
                roster=roster,
                context=self._context,
                folders=settings.folders,
            )
            for detector, run in faces
        ]
        drain_s = config.run.drain_s
        self._remote = hosts = {worker: host.name for worker in roster if (host := host_of(config, worker))}
        self._supervisor = Supervisor(
            self._runtime,
            roster,
            build,
            self._start_state,
            restart=config.run.restart_workers,
            drain_s=drain_s,
            remote={
                w: RemoteWorker(roster, link.ask, w, host, enabled=settings.enabled, drain_s=drain_s)
                for w, host in hosts.items()
            },
        )
        self._retention = Retention(config, config.disk, roster, link.ask) if config.disk else None
        self._tables: TableServer | None = None
        self._events, self._last_warning = EventLog(), LastWarning()
        self._autosave = Autosave(autosave_file(config), config.detector.prefix)
        self._commands = Commands(
            roster, settings, runs, self._supervisor, link.ask, faces=self._faces, retention=self._retention
        )
        self._follower = Follower(roster, runs, self._commands.settle, timing=config.timing is not None)

    def _new_run(self, detector: Detector) -> RunControl:
        """Return the run of a detector."""
        roster, workers = self._roster, [worker_name(source) for source in detector.sources]
        return RunControl(
            RunState.UNCONFIGURED,
            self._link.ask,
            lambda: [worker for worker in workers if worker in roster.responding],
            patience_s=lambda w: patience_s(self._config, roster.sources[w], roster.payload_bytes(w)),
        )

    def _start_state(self, worker: str) -> RunState:
        if worker not in self._runs:
            return RunState.UNCONFIGURED
        return self._runs.of(worker).start_state(worker, configured=self._settings.are_configured(worker))

    async def main(self, templates: list[Load], *, shell: bool) -> int:
        """Start, serve until a signal, stop everything."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        tasks: list[asyncio.Task[Any]] = []
        logging.getLogger().addHandler(self._last_warning)
        try:
            display = await self._start(templates)
            self._show(display, 0)
            tasks = [
                asyncio.create_task(self._tick(display), name="tick"),
                *([asyncio.create_task(self._clocks.follow(), name="clocks")] if self._config.host else []),
            ]
            self._print_ready(len(display))
            self._service.ready()
            if shell:
                self._start_shell(display)
            stopped = asyncio.create_task(self._stop.wait(), name="stop")
            done, _ = await asyncio.wait((stopped, *tasks), return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()  # neither ends but by an error of ours
            log.info("stopping")
            self._service.stopping()
        finally:
            for task in tasks:
                task.cancel()
            faces = [face.close() for face in self._faces]
            await asyncio.gather(*tasks, *faces, self._follower.close(), return_exceptions=True)
            await asyncio.gather(self._supervisor.close(), self._stop_retention(), self._autosave.close())
            self._observer.close()
            if self._tables:
                self._tables.close()
            self._context.destroy(linger=0)
            logging.getLogger().removeHandler(self._last_warning)
        return 0

    def _start_shell(self, display: "Display") -> None:
        from ioc import epics  # loads EPICS

        Shell(display.known, epics.run_iocsh, self._stop.set).start()

    async def _start(self, templates: list[Load]) -> "Display":
        """Adopt or start the workers, and start EPICS; return the records. Raises PebbleDaqError."""
        choose_interfaces(self._config.ioc.interfaces)
        from ioc import epics  # loads EPICS
        from ioc.display import Display
        from ioc.duplicate import refuse_duplicate

        if self._config.host:
            await asyncio.to_thread(refuse_duplicate, self._config.detector.prefix)

        handlers = self._commands.handlers()
        for face in self._faces:
            handlers |= face.handlers()
        empty = defaults(self._config)
        bindings = load_records(self._config, templates, empty, handlers)
        self._autosave.bind(bindings, handlers)
        adopted = await self._adopt()
        warnings = check_host(self._config, adopted=bool(adopted))
        for line in ports_in_use():
            log.warning(line)
        await self._restore(adopted)
        for worker, enabled in self._settings.enabled.items():
            if enabled:
                await self._supervisor.begin(worker)
        await asyncio.sleep(0)  # the processes start while EPICS initialises
        epics.set_up()
        display = Display(
            self._config.detector.prefix,
            bindings,
            handlers,
            empty,
            roster=self._roster,
            runs=self._runs,
            faces=self._faces,
            follower=self._follower,
            plan=self._plan,
            hosts=self._hosts,
            retention=self._retention,
            autosave=self._autosave,
            warnings=warnings,
            window_s=self._config.alarms.window_s,
            events=self._events,
            last_warning=self._last_warning,
        )
        for face in self._faces:
            face.follow(lambda: display.show_workers(time.monotonic()))
        epics.start(self._stop.is_set, self._config.ioc.access_file or ACCESS_FILE, substitutions())
        from ioc.table_server import TableServer

        self._tables = TableServer(self._config.detector.prefix)
        return display

    async def _restore(self, adopted: list[str]) -> None:
        """Apply the settings that were saved, and then begin to delete files by them."""
        if self._retention:
            self._retention.follow(self._settings.detector_folders())  # limits are checked against their disks
        await self._autosave.restore(adopted)
        if self._retention:
            self._retention.start(self._settings.detector_folders())

    async def _adopt(self) -> list[str]:
        """Take over settings and run state from the workers that run already, here or elsewhere; return which do."""
        state = RunState.ENABLED if self._config.run.autostart else RunState.UNCONFIGURED
        found: dict[str, RunState] = {}
        statuses: dict[str, Any] = {}
        running = [w for w in self._roster if w in self._remote or is_running(self._runtime, w) is not None]
        answers = await asyncio.gather(*(self._link.ask(w, "status") for w in running), return_exceptions=True)
        for worker, status in zip(running, answers, strict=True):
            if isinstance(status, CommandError):
                log.warning("%s does not answer: %s", worker, status)
                continue
            if isinstance(status, BaseException):
                raise status
            try:
                found[worker] = state_by_label(status.get("run_state", state.label))
            except KeyError as error:
                log.warning("%s runs, but does not answer properly: %s", worker, error)
                continue
            statuses[worker] = status
            self._settings.adopt(worker, status)
            if self._retention and worker in self._retention.keepers:
                self._retention.adopt(status)
        for face in self._faces:
            # The highest of them: a worker that takes data goes on, and the others follow; so does a detector of which none runs.
            own = [found[w] for w in map(worker_name, face.detector.sources) if w in found]
            face.run.state = max(own or found.values(), default=state)
            face.adopt(statuses)
        return [worker for worker in running if worker in statuses or worker not in self._remote]

    def _show(self, display: "Display", count: int) -> None:
        now_s = time.monotonic()
        self._observer.take(now_s)
        self._supervisor.follow(now_s)
        display.show_workers(now_s)
        self._follower.follow(now_s)
        if count % IOC_TICKS == 0:
            if self._retention:
                self._retention.follow(self._settings.detector_folders())
            self._autosave.follow(now_s)
            display.show_ioc(now_s)
            if self._tables:
                self._tables.show(display.tables())

    async def _tick(self, display: "Display") -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        for count in itertools.count(1):
            self._show(display, count)
            self._service.alive()
            due_s = max(due_s + TICK_S, loop.time())
            await asyncio.sleep(due_s - loop.time())

    def _print_ready(self, records: int) -> None:
        """Print how clients find the records, and that they can be read."""
        for line in client_environment():
            print(line)  # noqa: T201
        print(f"READY {self._config.detector.prefix} {records}", flush=True)  # noqa: T201

    async def _stop_retention(self) -> None:
        if self._retention:
            await asyncio.to_thread(self._retention.close)
