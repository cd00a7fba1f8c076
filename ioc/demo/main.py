"""The demo from start to end. Every wait has a time-out, and every process that was started is ended."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from detectors.config import Config, parse_config
from detectors.errors import HostError
from detectors.extras import missing
from detectors.pools.available import mem_available
from detectors.runtime_names import COUNTERS_VARIABLE, SHM_FOLDER, RuntimeNames
from detectors.stats import ReceiverStatus
from detectors.worker_names import worker_name, workers
from detectors.workers.lock import is_running, remove_leftovers
from detectors.workers.preflight.network import granted_receive_buffer
from ioc.demo.audit import (
    FirstMismatch,
    Line,
    Sent,
    compare_camera,
    compare_disk,
    compare_module,
    compare_restarted,
    read_back,
    switched_off,
)
from ioc.demo.children import Child, clean_environment, epics_environment, free_ports
from ioc.demo.client import DemoClient
from ioc.demo.plan import (
    CAMERA,
    CAMERA_DTYPE,
    CAMERA_SHAPE,
    FIRST_PULSE,
    GEOMETRY,
    MODULES,
    PULSES_PER_IMAGE,
    ROLLING_S,
    DemoHost,
    DemoPlan,
    Place,
    config_text,
    make_plan,
)
from ioc.demo.rolling import Rolling
from ioc.demo.screen import summary
from ioc.glance.recent_losses import RecentLosses
from ioc.glance.screen import Screen
from ioc.glance.verdict import judge
from ioc.progress import progress

_START_S: Final = 30.0
_HEAD_START_S: Final = 0.5
"""From the word to start until event 0, so that all sources have heard it, s."""
_REFRESH_S: Final = 0.5
OLD_IMAGES: Final = 1
"""Images that the camera holds from before the run; they come while the run is not enabled."""

_SOURCES_END_S: Final = 10.0
_EARLY_S: Final = 0.5
"""A source that has ended so long before its time has failed, s."""
_DRAIN_S: Final = 20.0
_COMPARE_S: Final = 3.0
"""Without an end, the pixels of each source are compared for so long, s: who stops it does not want to wait."""


@dataclass(slots=True)
class Demo:
    """One run. ``seconds`` None: until Ctrl-C. ``keep``: folder that the data stays in."""

    console: Console
    seconds: float | None
    keep: Path | None
    mismatch: FirstMismatch
    _rolling: dict[str, Rolling] = field(default_factory=dict)

    def run(self) -> int:
        """Run it; return 0 if everything agreed, else 1. Raises PebbleDaqError when it cannot run."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with ExitStack() as stack:
            folder = self.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pebbledaq-demo-")))
            try:
                folder.mkdir(parents=True, exist_ok=True)
                used = (folder / "data").exists()
            except OSError as error:
                raise HostError(f"{folder}: cannot be written: {error.strerror}; choose another --output") from None
            if used:
                raise HostError(f"{folder}: found data of another run, expected a new folder; choose another --output")
            plan = make_plan(_machine(folder), self.seconds)
            for note in plan.notes:
                self._note(note)
            return self._run(stack, folder.absolute(), plan)

    def _run(self, stack: ExitStack, folder: Path, plan: DemoPlan) -> int:
        ca, repeater, pva, search, camera, camera_search, timing, web, *modules = free_ports(8 + len(MODULES))
        web_port = None if missing("web") else web
        prefix = _free_prefix()
        place = Place(prefix, f"{prefix}SIM:image", folder / "data", tuple(modules), timing, web_port)
        (folder / "data").mkdir()
        path = folder / "demo.toml"
        if web_port:
            self.console.print(f"[bold]Images in a browser, as soon as they come: http://127.0.0.1:{web_port}/[/]")
        else:
            self.console.print(
                "No page with images: that needs the extra web, pip install 'pebbledaq\\[web]'", highlight=False
            )
        path.write_text(config_text(plan, place))
        config = parse_config(path.read_text(), str(path))
        variables = epics_environment(ca, repeater, pva, search, camera_search)
        environment = {**clean_environment(), **variables, COUNTERS_VARIABLE: str(path.parent)}
        stack.enter_context(_nothing_left(config))

        def start(name: str, *arguments: Any) -> Child:
            child = Child(name, [str(a) for a in arguments], environment)
            stack.callback(child.end)
            return child

        began_s = time.monotonic()
        ioc = start("ioc", "run", path)
        sources = self._start_sources(start, plan, place, camera, camera_search)
        for child in (*sources.values(), ioc):
            child.wait_ready(began_s + _START_S)
        self.console.print(f"IOC ready after {time.monotonic() - began_s:.1f} s; configuration {path}", soft_wrap=True)
        self._say_how_to_look(prefix, variables)
        client = DemoClient(config, environment)
        stack.callback(client.close)
        client.wait_for(f"{CAMERA}:Connected_RBV", "Yes", _START_S)
        for name in MODULES:
            client.wait_for(f"{name}:Running_RBV", "Yes", _START_S)
        client.put("Acquire", 1)
        client.wait_for("RunState_RBV", "Enabled", _START_S)
        pids = client.pids()
        self._take_data(client, plan, config, sources, ioc)
        reports = {name: child.report() for name, child in sources.items()}
        final = client.drained(_DRAIN_S)
        restarted = {name for name, pid in client.pids().items() if pid != pids[name]}
        if client.get("Acquire_RBV") == "Acquire":
            client.put("Acquire", 0)
            client.wait_for("RunState_RBV", "Configured", _START_S)
        client.close()
        code = ioc.end()
        lines = self._judge(config, final, reports, restarted)
        return self._conclude([*lines, Line("exit code of the IOC", code, 0)])

    def _start_sources(
        self, start: Any, plan: DemoPlan, place: Place, camera_port: int, camera_search: int
    ) -> dict[str, Child]:
        def clock(rate_hz: float, step: int) -> list[Any]:
            options = ["--epoch-ns", "-", "--start", FIRST_PULSE, "--rate", rate_hz, "--step", step]
            if self.seconds is None:
                return options
            # A source that falls behind still sends all, but not without end.
            frames = max(1, round(self.seconds * rate_hz))
            return [*options, "--frames", frames, "--seconds", self.seconds + _SOURCES_END_S / 2]

        images = clock(plan.camera_rate_hz, PULSES_PER_IMAGE)
        camera = ["--shape", "x".join(map(str, CAMERA_SHAPE)), "--dtype", CAMERA_DTYPE, "--initial-image"]
        camera += ["--port", camera_port, "--broadcast-port", camera_search]
        found = {CAMERA: start("camera", "sim", "pva", place.camera_pv, *images, *camera)}
        pulses = clock(plan.module_rate_hz, 1)
        for i, (name, port) in enumerate(zip(MODULES, place.module_ports, strict=True)):
            found[name] = start(f"module {name}", "sim", "udp", port, *pulses, "--module-id", i, "--burst", plan.burst)
        found["timing"] = start("timing", "sim", "timing", place.timing_port, *images)
        return found

    def _take_data(
        self, client: DemoClient, plan: DemoPlan, config: Config, sources: Mapping[str, Child], ioc: Child
    ) -> None:
        """Start all sources at one time, watch, and see them end."""
        epoch_ns = time.time_ns() + round(_HEAD_START_S * 1e9)
        for child in sources.values():
            child.write_line(str(epoch_ns))
        period_ns = 1e9 / plan.camera_rate_hz
        losses = RecentLosses(config.alarms.window_s)
        try:
            with Screen(self.console, live=self.console.is_terminal) as screen:
                while any(child.running for child in sources.values()):
                    ioc.check()
                    elapsed_s = max(0.0, (time.time_ns() - epoch_ns) / 1e9)
                    if self.seconds is None or elapsed_s < self.seconds - _EARLY_S:
                        for child in sources.values():
                            child.check()
                    if self.seconds is None:
                        self._roll(config, plan, elapsed_s)
                    elif elapsed_s > self.seconds + _SOURCES_END_S:
                        raise HostError("the sources did not end in time; is this machine overloaded?")
                    views = losses.views(client.snapshots(), time.monotonic())
                    of = "" if self.seconds is None else f" of {self.seconds:g}"
                    shown_s = elapsed_s if self.seconds is None else min(elapsed_s, self.seconds)
                    screen.show(f"{config.detector.name} {shown_s:.0f}{of} s", views, judge(views), losses.span_s)
                    time.sleep(_REFRESH_S)
        except KeyboardInterrupt:
            self.console.print("stopping the sources, then reading back what they sent; Ctrl-C again to give up")
            # In the middle between two images, so that camera and timing end with the same one.
            phase_ns = (time.time_ns() - epoch_ns) % period_ns
            time.sleep(((1.5 * period_ns - phase_ns) % period_ns) / 1e9)
            for child in sources.values():
                child.ask_to_end()
        deadline_s = time.monotonic() + _SOURCES_END_S
        for child in sources.values():
            if child.wait(deadline_s - time.monotonic()) is None:
                raise HostError(f"{child.name} did not end in time")

    def _judge(
        self, config: Config, final: Mapping[str, Any], reports: Mapping[str, Any], restarted: set[str]
    ) -> list[Line]:
        """Read everything back, compare and show the result; return the comparisons."""
        lines: list[Line] = []
        problems: list[str] = []
        total, uncompared, began_s = 0, 0, time.monotonic()
        assert config.disk is not None
        for source in (*config.udp, *config.pva):
            name, status, sent = source.name, final[worker_name(source)], reports[source.name]
            folder, module = config.disk.folder / config.detector_of(source), config.module_of(source)
            first, last = sent["first_pulse"], sent["last_pulse"]
            if isinstance(status, ReceiverStatus):
                compared = compare_module(name, sent, status)
                pulses = range(first, last + 1)
                expected = Sent(folder, module, pulses, GEOMETRY.packets_per_frame, sent["first_frame"])
            else:
                compared = compare_camera(name, sent, reports["timing"], OLD_IMAGES, status)
                expected = Sent(folder, module, range(first, last + 1, PULSES_PER_IMAGE), packets=1)
            compare_s = inf if self.seconds is not None else _COMPARE_S
            with progress(f"reading back {name}", "frames") as show:
                found = read_back(expected, self.mismatch, compare_s=compare_s, progress=show)
            uncompared += found.uncompared
            problems += found.problems
            total += found.bytes
            if name in restarted:
                self._note(
                    f"{name} was started again meanwhile: its counters began at 0 again, and only its pixels are compared"
                )
                lines += compare_restarted(name, status, found)
                continue
            if switched_off(status, OLD_IMAGES):
                self._note(
                    f"{name}: data came while the run or the output was switched off; it is counted and not on disk"
                )
            removed = self._rolling[name].removed if name in self._rolling else 0
            lines += [*compared, *compare_disk(name, status, removed, found)]
        self.console.print(summary(lines))
        took_s = time.monotonic() - began_s
        self.console.print(
            f"read back {total / 1e9:.2f} GB in {took_s:.1f} s, every pixel compared with the pattern"
            + (f"; {uncompared} frames counted only" if uncompared else ""),
            highlight=False,
        )
        for problem in problems:
            self.console.print(f"[red]{problem}[/]", highlight=False, soft_wrap=True)
        losses = sum(s.packets.lost for s in final.values() if isinstance(s, ReceiverStatus))
        if losses:
            self._note(f"{losses} packets were lost, and every one of them was counted")
        return lines

    def _conclude(self, lines: list[Line]) -> int:
        """Say whether all agrees; return the exit code."""
        wrong = [line for line in lines if not line.agrees]
        for line in wrong:
            self.console.print(
                f"[red]{line.what}: found {line.found}, expected {line.expected}[/]", highlight=False, soft_wrap=True
            )
        self.console.print("[bold red]something does not agree[/]" if wrong else "[bold green]everything agrees[/]")
        if self.keep:
            self.console.print(f"the data stays in {self.keep}", soft_wrap=True)
        return 1 if wrong else 0

    def _note(self, text: str) -> None:
        self.console.print(f"[yellow]{text}[/]", highlight=False, soft_wrap=True)

    def _roll(self, config: Config, plan: DemoPlan, elapsed_s: float) -> None:
        """With no end in sight, keep the newest data only."""
        oldest = FIRST_PULSE + int((elapsed_s - ROLLING_S) * plan.module_rate_hz)
        assert config.disk is not None
        for source in (*config.udp, *config.pva):
            if source.name not in self._rolling:
                folder = config.disk.folder / config.detector_of(source)
                self._rolling[source.name] = Rolling(folder, config.module_of(source), FIRST_PULSE)
            self._rolling[source.name].keep_from(oldest)

    def _say_how_to_look(self, prefix: str, variables: Mapping[str, str]) -> None:
        names = [name for name in variables if not name.startswith(("EPICS_CAS", "EPICS_PVAS"))]
        words = " ".join(
            f"{name}='{variables[name]}'" if " " in variables[name] else f"{name}={variables[name]}" for name in names
        )
        python = Path(sys.executable)
        self.console.print("\nIn another terminal:", highlight=False)
        for line in (
            f"export {words}",
            f"{_shown(python.with_name('caproto-get'))} --no-repeater {prefix}M00:FramesComplete_RBV",
            f"{_shown(python)} -m p4p.client.cli get {prefix}{CAMERA}:Match_RBV {prefix}M00:Pebble:InUse_RBV",
            f"caget {prefix}M01:PacketsLost_RBV {prefix}M01:State_RBV {prefix}RunState_RBV",
            f"caput {prefix}M01:Disk:On 0",
        ):
            self.console.print(f"  {line}", highlight=False, soft_wrap=True)
        self.console.print()


def _shown(path: Path) -> str:
    """Return a path as one would type it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _machine(folder: Path) -> DemoHost:
    return DemoHost(
        disk=shutil.disk_usage(folder).free,
        shared_memory=shutil.disk_usage(SHM_FOLDER).free,
        memory=mem_available(),
        receive_buffer=granted_receive_buffer(64, 1 << 20),
    )


def _free_prefix() -> str:
    """Return a prefix that no other IOC of ours uses."""
    return "DEMO:" if is_running(RuntimeNames("DEMO:"), "ioc") is None else f"DEMO{os.getpid()}:"


@contextmanager
def _nothing_left(config: Config) -> Generator[None]:
    """See to it that no worker outlives the demo, even if its IOC was killed."""
    try:
        yield
    finally:
        runtime = config.runtime_names
        for worker in workers(config):
            pid = is_running(runtime, worker)
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            deadline_s = time.monotonic() + 5
            while is_running(runtime, worker) is not None and time.monotonic() < deadline_s:
                time.sleep(0.05)
            remove_leftovers(runtime, worker)
