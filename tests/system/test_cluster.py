"""A Dask cluster of processes of their own, which are killed in the middle: the output is that of an undisturbed run."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.epics_env import free_ports
from tests.support.process import Process
from tests.support.waiting import until
from tests.unit.buffer.make import RawBuffer

pytest.importorskip("distributed")
pytestmark = pytest.mark.long

PULSES = range(1000, 9000, 20)
"""Over eight files."""
HELD = 5000
"""The pulse at which ``held`` waits: some chunks are done then, and some are not."""

FUNCTION = """
import os, pathlib, time

here = pathlib.Path(__file__).parent

def mean(image, head):
    return {"mean": image * 0.1, "pulses": head.pulse_id}

def held(image, head):
    while head.pulse_id >= 5000 and not (here / "go").exists():
        (here / f"{os.getpid()}.pid").touch()
        time.sleep(0.01)
    return mean(image, head)
"""


@pytest.fixture
def raw(tmp_path: Path) -> RawBuffer:
    raw = RawBuffer(tmp_path / "JF01").fill(PULSES)
    (tmp_path / "mine.py").write_text(FUNCTION)
    return raw


def command(*words: object) -> Process:
    return Process("-m", "ioc", *map(str, words), timeout_s=60.0)


def done(process: Process) -> str:
    """Return what a command prints that ends well."""
    with process:
        assert process.wait() == 0, process.text
    return process.text


def dask(kind: str, *words: str) -> Process:
    return Process("-m", f"distributed.cli.dask_{kind}", *words, "--no-dashboard", timeout_s=60.0)


@pytest.fixture
def scheduler(stack: ExitStack) -> tuple[str, Process]:
    """The address of a scheduler with two workers, and its process."""
    (port,) = free_ports(1)
    process = stack.enter_context(dask("scheduler", "--host", "127.0.0.1", "--port", str(port)))
    address = f"tcp://127.0.0.1:{port}"
    for _ in range(2):
        worker = stack.enter_context(dask("worker", address, "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1"))
        worker.wait_for("Registered to")
    return address, process


def held(tmp_path: Path) -> list[int]:
    """Return the processes that wait in the function ``held``."""
    return [int(path.stem) for path in tmp_path.glob("*.pid")]


def test_a_killed_worker_changes_nothing(raw, tmp_path, scheduler):
    address, _ = scheduler
    with command(
        "process", raw.folder, f"{tmp_path}/mine.py:held", "-o", tmp_path / "a.h5", "--scheduler", address
    ) as run:
        until(lambda: len(held(tmp_path)) == 2, timeout_s=60.0)
        os.kill(held(tmp_path)[0], signal.SIGKILL)
        (tmp_path / "go").touch()
        assert run.wait() == 0, run.text
    assert "mean, pulses of 400 images" in run.text
    done(command("process", raw.folder, f"{tmp_path}/mine.py:held", "-o", tmp_path / "b.h5", "--workers", 1))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("killed", ["command", "scheduler"])
def test_what_was_killed_goes_on_and_ends_the_same(raw, tmp_path, scheduler, killed):
    address, process = scheduler
    words = "process", raw.folder, f"{tmp_path}/mine.py:held", "-o"
    with command(*words, tmp_path / "a.h5", "--scheduler", address) as run:
        until(lambda: len(held(tmp_path)) == 2, timeout_s=60.0)
        (run if killed == "command" else process).end(signal.SIGKILL)
        code = run.wait()
    if killed == "scheduler":
        assert code == 1
        assert run.lines == [
            "pebbledaq: the Dask scheduler is gone, or took the work back; parts of an output that are done stay"
        ]
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "a.h5.parts").glob("*.npz")}
    assert 1 <= len(parts) < 8
    (tmp_path / "go").touch()
    done(command(*words, tmp_path / "a.h5", "--workers", 2))
    done(command(*words, tmp_path / "b.h5", "--workers", 1))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert not (tmp_path / "a.h5.parts").exists()


def test_a_write_that_was_killed_goes_on_and_ends_the_same(raw, tmp_path, scheduler):
    address, _ = scheduler
    for folder in ("killed", "whole"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "killed" / "a.h5"
    words = "write", raw.folder, "--missing", "fill", "--compression", "zlib", "-o"
    with command(*words, path, "--scheduler", address) as run:
        until(lambda: any(path.with_name("a.h5.parts").glob("*.h5")), timeout_s=60.0)
        run.end(signal.SIGKILL)
    assert not path.exists()
    done(command(*words, path, "--scheduler", address))
    done(command(*words, tmp_path / "whole" / "a.h5", "--workers", 1))
    names = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*.h5"))
    assert names == sorted(p.relative_to(path.parent) for p in path.parent.rglob("*") if p.is_file())
    assert len(names) == 9  # of 7981 images
    for name in names:
        assert (path.parent / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
