"""The worker that applies a user's function to live images, beside modules that this test plays."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import zmq
from p4p.client.thread import Context

from detectors.config import parse_config
from detectors.live_streams import ResultStream
from detectors.stats import ProcessingStatus
from detectors.workers.account import read_totals
from tests.support.balance import imbalance
from tests.support.process import Process, WorkerProcess
from tests.support.two_modules import TWO_MODULES, pattern_image, play_modules
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("runtime_dir")

CONFIG = (
    TWO_MODULES
    + """
[run]
drain_s = 0.5
[process]
function = "{folder}/own.py:own"
workers = 2
queue = 3
publish_hz = 20
results = "ipc://{folder}/results"
"""
)

OWN = """
import os, pathlib, time

GATE = pathlib.Path(__file__).with_name("gate")

def own(image, head):
    assert not image.flags.writeable
    if head.pulse_id >= 1000:
        GATE.with_name(f"at-{os.getpid()}").touch()
        while not GATE.exists():
            time.sleep(0.005)
    if head.pulse_id % 100 == 13:
        raise ValueError("unlucky")
    return {"sum": image, "pixels": image.sum(), "rows": image.sum(axis=1)}
"""
SLOTS = 2 + 3
"""Images that may be under way: one in each process, and those that wait."""


class Bench(WorkerProcess):
    """A running worker, and its two modules."""

    def __init__(self, folder: Path, stack: ExitStack, variables: dict[str, str]) -> None:
        prefix = f"T{os.getpid()}:"
        text = CONFIG.format(prefix=prefix, folder=folder)
        parse_config(text)
        (folder / "config.toml").write_text(text)
        (folder / "own.py").write_text(OWN)
        self.prefix, self.folder = prefix, folder
        super().__init__(prefix, "process", "process", str(folder / "config.toml"))
        stack.enter_context(self.ready())
        context = zmq.Context()
        stack.callback(context.destroy, linger=0)
        self.modules = play_modules(stack, self.runtime, context)
        for module in self.modules:
            module.wait_for_subscriber(module.notify)
        self.client = stack.enter_context(Context("pva", conf=variables, useenv=False, nt=False))
        self.sent: list[int] = []

    def send(self, pulse_id: int) -> None:
        """Send an image; the worker has taken it, or dropped it, when this returns."""
        for module in self.modules:
            module.send(pulse_id)
        self.sent.append(pulse_id)
        self.until(lambda s: s["processing"]["offered"] == len(self.sent))

    def image(self, pulse_id: int) -> np.ndarray:
        return pattern_image(pulse_id).astype(np.uint64)

    def settled(self) -> dict[str, Any]:
        """The snapshot when no image is under way, with its balance checked."""
        snapshot = self.until(lambda s: not s["processing"]["queued"])
        assert not imbalance(ProcessingStatus, snapshot)
        return snapshot

    def processes(self) -> dict[str, int]:
        """The process ids of the function's processes by their names."""
        return {child.cmdline()[-1]: child.pid for child in psutil.Process(self.pid).children()}

    def at_work(self) -> set[int]:
        """The processes that are in the function."""
        return {int(path.name.removeprefix("at-")) for path in self.folder.glob("at-*")}

    def open_gate(self) -> None:
        (self.folder / "gate").touch()

    def total(self, images: int) -> dict[str, np.ndarray]:
        """The total as PVs, once it has so many images."""
        self.until(lambda s: s["total"] == images)
        values = {
            name: self.client.get(f"{self.prefix}Process:Total:{name}", timeout=20) for name in ("rows", "pixels")
        }
        found = {name: np.asarray(value.value) for name, value in values.items()}
        array = self.client.get(f"{self.prefix}Process:Total:sum", timeout=20)
        shape = [dimension.size for dimension in array.dimension][::-1]
        return {**found, "sum": array.value.reshape(shape)}


@pytest.fixture
def bench(tmp_path: Path, own_epics: dict[str, str], stack: ExitStack) -> Bench:
    return Bench(tmp_path, stack, own_epics)


def assert_total(found: dict[str, np.ndarray], expected: np.ndarray) -> None:
    assert found["sum"].dtype == np.uint64
    assert (found["sum"] == expected).all()
    assert (found["rows"] == expected.sum(axis=1)).all()
    assert int(found["pixels"]) == int(expected.sum())


def test_the_total_is_exactly_what_the_modules_have_sent_and_begins_again_on_command(bench):
    with ResultStream(f"ipc://{bench.folder}/results", timeout_s=10) as stream:
        bench.until(lambda s: s["results"]["subscribers"] == 1)
        expected = np.zeros((128, 128), np.uint64)
        for pulse_id in range(20):
            if pulse_id == 13:
                continue
            bench.send(pulse_id)
            bench.settled()
            expected += bench.image(pulse_id)
        assert_total(bench.total(19), expected)
        snapshot = bench.settled()
        assert (snapshot["processing"]["processed"], snapshot["processing"]["dropped"]) == (19, 0)
        last: dict[tuple[str, str], Any] = {}
        for head, value in stream:
            last[head.name, head.of] = head, value
            complete = {name for (name, of), (newest, _) in last.items() if of == "total" and newest.images == 19}
            if complete == {"sum", "rows", "pixels"}:
                break
        head, value = last["sum", "total"]
        assert head.images == 19
        assert (value == expected).all()
        assert (head.pulse_id, head.detector) == (snapshot["pulse_id"], "JF")
    bench.ask("reset")
    bench.send(50)
    assert_total(bench.total(1), bench.image(50))
    assert bench.settled()["processing"]["processed"] == 20
    assert bench.end() == 0


@pytest.mark.long
def test_a_killed_process_costs_its_image_and_nothing_else(bench):
    bench.send(1)
    bench.total(1)
    bench.send(1000)
    (pid,) = until(bench.at_work, lambda found: len(found) == 1)
    bench.send(2)  # for the other process
    os.kill(pid, signal.SIGKILL)
    bench.open_gate()
    snapshot = bench.until(lambda s: s["processing"]["lost"] == 1)
    bench.send(3)
    assert_total(bench.total(3), bench.image(1) + bench.image(2) + bench.image(3))
    snapshot = bench.settled()
    assert {name: snapshot["processing"][name] for name in ("processed", "lost", "failed", "dropped")} == {
        "processed": 3,
        "lost": 1,
        "failed": 0,
        "dropped": 0,
    }
    snapshot = bench.until(lambda s: s["processing"]["processes"] == 2)
    assert snapshot["processing"]["restarts"] == 1


@pytest.mark.long
def test_a_killed_total_begins_again_and_that_is_counted(bench):
    bench.send(1)
    bench.total(1)
    os.kill(bench.processes()["total"], signal.SIGKILL)
    bench.send(2)
    bench.until(lambda s: s["processing"]["totals_begun"] == 1)
    bench.send(3)
    bench.send(4)
    assert_total(bench.total(2), bench.image(3) + bench.image(4))
    snapshot = bench.settled()
    assert (snapshot["processing"]["processed"], snapshot["processing"]["lost"]) == (3, 1)


def test_images_that_the_function_fails_on_are_counted_with_the_first_reason(bench):
    for pulse_id in (12, 13, 14, 113):
        bench.send(pulse_id)
    snapshot = bench.settled()
    assert (snapshot["processing"]["processed"], snapshot["processing"]["failed"]) == (2, 2)
    assert "pulse 13: ValueError: unlucky" in snapshot["error"]
    assert_total(bench.total(2), bench.image(12) + bench.image(14))
    bench.ask("reset")
    bench.until(lambda s: s["error"] == "")


@pytest.mark.long
def test_images_for_a_function_that_is_busy_are_dropped_and_the_modules_are_read_on(bench):
    came = [1000 + n for n in range(SLOTS + 4)]
    for pulse_id in came:
        bench.send(pulse_id)
    snapshot = bench.status()
    assert (snapshot["processing"]["queued"], snapshot["processing"]["dropped"]) == (SLOTS, 4)
    assert (snapshot["images"]["assembled"], snapshot["images"]["gathered"]) == (len(came), SLOTS)
    assert not imbalance(ProcessingStatus, snapshot)
    bench.open_gate()
    taken = [pulse_id for pulse_id in came[:SLOTS] if pulse_id % 100 != 13]
    expected = sum((bench.image(pulse_id) for pulse_id in taken), np.zeros((128, 128), np.uint64))
    assert_total(bench.total(SLOTS), expected)
    snapshot = bench.settled()
    assert snapshot["processing"]["processed"] == SLOTS
    assert snapshot["processing"]["lag_ms"] > 0
    assert snapshot["pool"]["in_use"] == 0


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_ends_leaves_no_process_even_in_a_function_that_never_returns(bench, number: int):
    bench.send(1)
    bench.send(1000)
    until(bench.at_work)
    children = psutil.Process(bench.pid).children()
    assert len(children) == 3
    assert bench.end(number) == (0 if number == signal.SIGTERM else -number)
    until(lambda: psutil.wait_procs(children, timeout=0.1)[1], lambda alive: not alive)
    totals = read_totals(bench.runtime, "process")
    fates = ("processed", "lost", "dropped", "failed")
    assert [totals[f"processing.{fate}"] for fate in fates] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def other(image, head): return 1\n", "found no own"),
        ("import nothing_of_this_name\n", "cannot be loaded: ModuleNotFoundError"),
        ("import os; os.abort()\n", "the process ended with -6"),
    ],
)
def test_a_function_that_cannot_be_loaded_is_a_mistake_of_the_configuration(text: str, said: str, tmp_path: Path):
    (tmp_path / "config.toml").write_text(CONFIG.format(prefix=f"T{os.getpid()}:", folder=tmp_path))
    (tmp_path / "own.py").write_text(text)
    with Process("-m", "ioc", "process", str(tmp_path / "config.toml"), "--workers", "1") as worker:
        assert worker.wait() == 2
        assert said in worker.text
        assert "Traceback" not in worker.text
