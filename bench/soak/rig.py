"""The running system: the IOC, its workers and the simulated sources, on ports, names and folders of its own."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from bench.soak.processes import end_all, with_runtime_dir
from bench.soak.setup import CAMERA, CAMERA_DTYPE, FIRST_PULSE, Place, Setup, config, config_text
from detectors.errors import HostError
from detectors.runtime_names import COUNTERS_VARIABLE, SHM_FOLDER, RuntimeNames
from detectors.worker_names import worker_name
from detectors.workers.commands import request
from ioc.demo.children import Child, clean_environment, epics_environment, free_ports
from ioc.demo.client import DemoClient

START_S: Final = 30.0
"""A child that is not ready so long after its start, or a PV that does not follow, is a failure, s."""
HEAD_START_S: Final = 0.5
"""From the word to start until event 0, so that all sources have heard it, s."""
DISK_RESERVE: Final = 2 << 30
"""Free space that a run leaves, bytes."""
_POLL_S: Final = 0.05

T = TypeVar("T")


class Rig:
    """Context manager: when it is left, whatever happened, all that was started has ended and the data is gone.

    Raises HostError when something does not come up, and when the disk has no room for ``seconds`` of data.
    """

    def __init__(self, setup: Setup, *, seconds: float, folder: Path | None = None) -> None:
        self.setup = setup
        self.seconds = seconds
        self.sources: dict[str, Child] = {}
        self.epoch_ns = 0
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._prepare(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def _prepare(self, stack: ExitStack) -> None:
        # Short: the path of a Unix socket holds 107 bytes.
        self._runtime_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pd", dir="/tmp")))
        stack.enter_context(_variable("XDG_RUNTIME_DIR", str(self._runtime_dir)))
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pebbledaq-soak-", dir=self._folder)))
        stack.enter_context(_variable(COUNTERS_VARIABLE, str(data)))
        needed, free = self.setup.bytes_per_s * self.seconds + DISK_RESERVE, shutil.disk_usage(data).free
        if needed > free:
            raise HostError(
                f"disk: found {free / 1e9:.1f} GB free in {data.parent}, expected {needed / 1e9:.1f} GB; "
                "give fewer --seconds, lower rates or another --folder"
            )
        ca, repeater, pva, search, *ports = free_ports(7 + self.setup.modules)
        self._camera_port, self._camera_search, timing, *modules = ports
        self.place = Place(f"SOAK{os.getpid()}:", data / "data", tuple(modules), timing)
        self.place.data.mkdir()
        self._config_path = data / "soak.toml"
        self._config_path.write_text(config_text(self.setup, self.place), encoding="utf-8")
        self.config = config(self.setup, self.place)
        self.runtime = RuntimeNames(self.place.prefix)
        self._environment = {**clean_environment(), **epics_environment(ca, repeater, pva, search, self._camera_search)}
        stack.callback(end_all, self._runtime_dir)
        stack.callback(self._remove_shared_memory)
        self._children = stack.enter_context(ExitStack())
        self._client_stack = stack.enter_context(ExitStack())

    # --- processes

    @property
    def workers(self) -> list[str]:
        """Names of the workers."""
        return [worker_name(source) for source in (*self.config.udp, *self.config.pva)]

    def start(self, name: str, *arguments: Any) -> Child:
        """Start one ``pebbledaq ...``."""
        child = Child(name, [str(a) for a in arguments], self._environment)
        self._children.callback(child.end)
        return child

    def start_ioc(self) -> None:
        """Start the IOC, again if need be, and wait until its records can be read."""
        self.ioc = self.start("ioc", "run", self._config_path)
        self.ioc.wait_ready(time.monotonic() + START_S)
        # Another client each time: one that lost its server searches for it ever less often.
        self._client_stack.close()
        self.client = self._client_stack.enter_context(closing(DemoClient(self.config, self._environment)))

    def start_sources(self, seconds: float | None = None) -> None:
        """Start all sources, which then wait for ``begin``; without ``seconds`` they go on until they are ended."""
        end = [] if seconds is None else ["--seconds", seconds]
        clock = ["--start", FIRST_PULSE, "--epoch-ns", "-", *end]
        self.sources[CAMERA] = self._camera("--initial-image", *clock)
        for i, (name, port) in enumerate(zip(self.setup.module_names, self.place.module_ports, strict=True)):
            options = ["--rate", self.setup.pulse_rate_hz, "--module-id", i]
            self.sources[name] = self.start(f"module {name}", "sim", "udp", port, *clock, *options)
        images = ["--rate", self.setup.camera_rate_hz, "--step", self.setup.pulses_per_image]
        self.sources["timing"] = self.start("timing", "sim", "timing", self.place.timing_port, *clock, *images)
        deadline_s = time.monotonic() + START_S
        for child in self.sources.values():
            child.wait_ready(deadline_s)

    def start_camera(self, *, afresh: bool) -> None:
        """Start another camera in the place of one that was killed, on the same clock; ``afresh``: it counts from 1."""
        options = ["--count-afresh"] if afresh else []
        child = self._camera("--start", FIRST_PULSE, "--epoch-ns", self.epoch_ns, *options)
        child.wait_ready(time.monotonic() + START_S)
        self.sources[CAMERA] = child

    def _camera(self, *options: Any) -> Child:
        images = ["--rate", self.setup.camera_rate_hz, "--step", self.setup.pulses_per_image]
        images += ["--shape", "x".join(map(str, self.setup.camera_shape)), "--dtype", CAMERA_DTYPE]
        ports = ["--port", self._camera_port, "--broadcast-port", self._camera_search]
        return self.start("camera", "sim", "pva", self.place.camera_pv, *images, *ports, *options)

    # --- the run

    def enable(self) -> dict[str, Any]:
        """Wait for the workers, enable the run, and return the snapshots."""
        self.client.wait_for(f"{CAMERA}:Connected_RBV", "Yes", START_S)
        for name in self.setup.module_names:
            self.client.wait_for(f"{name}:Running_RBV", "Yes", START_S)
        self.client.put("Acquire", 1)
        self.client.wait_for("RunState_RBV", "Enabled", START_S)
        return self.client.snapshots()

    def begin(self) -> None:
        """Let all sources begin at one time."""
        self.epoch_ns = time.time_ns() + round(HEAD_START_S * 1e9)
        for child in self.sources.values():
            child.write_line(str(self.epoch_ns))

    @property
    def elapsed_s(self) -> float:
        """Time since event 0, s."""
        return max(0.0, (time.time_ns() - self.epoch_ns) / 1e9)

    def end_sources(self, timeout_s: float) -> dict[str, dict[str, Any]]:
        """Ask the sources to end, in the middle between two images, and return their reports."""
        period_ns = round(1e9 / self.setup.camera_rate_hz)
        phase_ns = (time.time_ns() - self.epoch_ns) % period_ns
        time.sleep((1.5 * period_ns - phase_ns) % period_ns / 1e9)
        for child in self.sources.values():
            child.ask_to_end()
        return self.reports(timeout_s)

    def reports(self, timeout_s: float) -> dict[str, dict[str, Any]]:
        """Wait for the end of the sources and return their reports."""
        deadline_s = time.monotonic() + timeout_s
        for child in self.sources.values():
            if child.wait(deadline_s - time.monotonic()) is None:
                raise HostError(f"{child.name} did not end within {timeout_s:g} s")
        return {name: child.report() for name, child in self.sources.items()}

    def stop(self) -> tuple[int, float]:
        """Disable the run and end the IOC; return its exit code and how long it took, s."""
        self.client.put("Acquire", 0)
        self.client.wait_for("RunState_RBV", "Configured", START_S)
        began_s = time.monotonic()
        return self.ioc.end(), time.monotonic() - began_s

    def pids(self) -> dict[str, int]:
        """Return the processes by name: the IOC and its workers."""
        found = {worker: int(self.client.get(f"{worker.partition('.')[2]}:Pid_RBV")) for worker in self.workers}
        return {"ioc": self.ioc.pid, **found}

    def status(self, worker: str) -> dict[str, Any]:
        """Ask a worker itself for its snapshot, past the IOC. Raises CommandError when it does not answer."""
        return request(self.runtime.command(worker), "status", timeout_s=2.0)

    # --- what is left

    def left_behind(self) -> list[str]:
        """Return what should not be there any more: processes, sockets, locks, shared memory, ports."""
        found = [f"process {pid}: {words}" for pid, words in with_runtime_dir(self._runtime_dir).items()]
        found += [str(path) for path in self._runtime_dir.rglob("*") if not path.is_dir()]
        found += [str(path) for path in self._shared_memory()]
        for port in (*self.place.module_ports, self.place.timing_port):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    found.append(f"UDP port {port}")
        return found

    def _shared_memory(self) -> list[Path]:
        return list(SHM_FOLDER.glob(f"*{self.runtime.key}*"))

    def _remove_shared_memory(self) -> None:
        for path in self._shared_memory():
            path.unlink(missing_ok=True)


def wait_until(what: str, get: Callable[[], T], good: Callable[[T], bool], timeout_s: float) -> T:
    """Return the first value that is good. Raises HostError when none comes in time."""
    deadline_s = time.monotonic() + timeout_s
    while not good(value := get()):
        if time.monotonic() > deadline_s:
            raise HostError(f"{what}: still {value!r} after {timeout_s:g} s")
        time.sleep(_POLL_S)
    return value


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable, for us and for all that we start."""
    old = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        with suppress(KeyError):
            del os.environ[name]
        if old is not None:
            os.environ[name] = old
