import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from detectors.errors import CommandError, HostError
from detectors.runtime import Runtime
from detectors.stats import ReceiverStatus, flat
from detectors.workers.control import Control, hold_lock, is_running, remove_leftovers, request
from tests.support.waiting import until

WORKER = "udp.M00"


@pytest.fixture
def runtime(short_runtime_dir: Path) -> Iterator[Runtime]:
    yield Runtime("T:CONTROL:")
    left = [p for p in short_runtime_dir.rglob("*") if not p.is_dir()]
    assert left == []


class Worker:
    def __init__(self) -> None:
        self.status = ReceiverStatus(worker=WORKER, state="Idle")

    def snapshot(self) -> ReceiverStatus:
        return self.status

    def output(self, output: str, enabled: bool) -> str:
        if output != "disk":
            raise CommandError(f"output: found {output!r}")
        return f"{output} {enabled}"


def test_snapshots_come_out_and_commands_go_in(runtime: Runtime) -> None:
    worker = Worker()
    with (
        Control(runtime, WORKER, worker.snapshot, {"output": worker.output}) as control,
        zmq.Context() as context,
        context.socket(zmq.SUB) as socket,
    ):
        socket.subscribe(b"")
        socket.connect(runtime.status(WORKER))
        assert socket.poll(3000)
        assert flat(socket.recv_json())["state"] == "Idle"
        command = runtime.command(WORKER)
        assert request(command, "output", output="disk", enabled=True) == "disk True"
        assert request(command, "status")["packets"]["lost"] == 0
        with pytest.raises(CommandError, match="output: found 'tape'"):
            request(command, "output", output="tape", enabled=True)
        with pytest.raises(CommandError, match="expected a command of: output, status, stop"):
            request(command, "explode")
        with pytest.raises(CommandError, match="unexpected keyword"):
            request(command, "output", colour="red")
        assert not control.stop.is_set()
        request(command, "stop")
        assert control.stop.is_set()


def test_the_last_snapshot_is_published_at_the_end(runtime: Runtime) -> None:
    worker = Worker()
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.subscribe(b"")
        with Control(runtime, WORKER, worker.snapshot, {}):
            socket.connect(runtime.status(WORKER))
            assert socket.poll(3000)
            worker.status = replace(worker.status, state="Stopped")
        states = []
        while socket.poll(500):
            states.append(socket.recv_json()["state"])
        assert states[-1] == "Stopped"


def test_a_snapshot_that_fails_does_not_end_the_commands(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def broken() -> ReceiverStatus:
        calls.append(1)
        raise ZeroDivisionError

    with Control(runtime, WORKER, broken, {"ping": lambda: "pong"}):
        until(lambda: calls)
        assert request(runtime.command(WORKER), "ping") == "pong"
    assert "snapshot failed" in caplog.text


def test_snapshots_go_on_while_an_answer_takes_its_time(runtime: Runtime) -> None:
    answer: Future[str] = Future()
    published = []

    def snapshot() -> ReceiverStatus:
        published.append(1)
        if len(published) == 4:
            answer.set_result("at last")
        return ReceiverStatus()

    with Control(runtime, WORKER, snapshot, {"slow": lambda: answer}):
        assert request(runtime.command(WORKER), "slow", timeout_s=5) == "at last"
    refused: Future[str] = Future()
    refused.set_exception(CommandError("not today"))
    with (
        Control(runtime, WORKER, Worker().snapshot, {"slow": lambda: refused}),
        pytest.raises(CommandError, match="not today"),
    ):
        request(runtime.command(WORKER), "slow", timeout_s=5)


def test_other_commands_are_answered_while_one_takes_its_time(runtime: Runtime) -> None:
    answer: Future[str] = Future()
    with (
        Control(runtime, WORKER, Worker().snapshot, {"slow": lambda: answer, "ping": lambda: "pong"}),
        zmq.Context() as context,
        context.socket(zmq.REQ) as slow,
    ):
        slow.linger = 0
        slow.connect(runtime.command(WORKER))
        slow.send(b'{"command": "slow"}')
        for _ in range(3):
            assert request(runtime.command(WORKER), "ping", timeout_s=5) == "pong"
        assert not slow.poll(0)
        answer.set_result("at last")
        assert slow.poll(5000)
        assert slow.recv_json()["result"] == "at last"


def test_who_waits_is_told_of_the_end(runtime: Runtime) -> None:
    never: Future[str] = Future()
    asked = threading.Event()

    def forever() -> Future[str]:
        asked.set()
        return never

    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        with Control(runtime, WORKER, Worker().snapshot, {"forever": forever}):
            socket.connect(runtime.command(WORKER))
            socket.send(b'{"command": "forever"}')
            assert asked.wait(5)
        assert socket.poll(5000)
        assert socket.recv_json() == {"ok": False, "message": "the worker is stopping", "result": None}


def test_garbage_on_the_command_socket_is_answered(runtime: Runtime) -> None:
    with Control(runtime, WORKER, Worker().snapshot, {}), zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(runtime.command(WORKER))
        for garbage in (b"", b"\xff\x00", b"[]", b'{"command": []}', b'{"args": 1}'):
            socket.send(garbage)
            assert socket.poll(2000)
            assert socket.recv_json()["ok"] is False


def test_a_worker_runs_once(runtime: Runtime) -> None:
    with hold_lock(runtime, WORKER):
        assert is_running(runtime, WORKER) == os.getpid()
        with pytest.raises(HostError, match=rf"already running as process {os.getpid()}"), hold_lock(runtime, WORKER):
            pass
    assert is_running(runtime, WORKER) is None


def test_nobody_answers(runtime: Runtime) -> None:
    with pytest.raises(CommandError, match=r"no answer from .* within 0.1 s"):
        request(runtime.command(WORKER), "ping", timeout_s=0.1)


def test_a_socket_path_too_long_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 90)))
    (tmp_path / ("x" * 90)).mkdir()
    with pytest.raises(HostError, match="longer than 107 bytes; set XDG_RUNTIME_DIR"):
        Control(Runtime("T:"), WORKER, Worker().snapshot, {}).__enter__()


def test_what_a_killed_worker_left_is_removed(runtime: Runtime) -> None:
    program = textwrap.dedent(
        f"""
        import time
        from detectors.runtime import Runtime
        from detectors.stats import ReceiverStatus
        from detectors.workers.control import Control
        runtime = Runtime({runtime.prefix!r})
        with Control(runtime, {WORKER!r}, ReceiverStatus, {{}}) as control:
            runtime.shm({WORKER!r}).write_bytes(b"x")
            print("READY", flush=True)
            control.stop.wait()
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"READY\n"
        assert is_running(runtime, WORKER) == process.pid
        assert remove_leftovers(runtime, WORKER) == []
        process.kill()
        process.wait()
    assert is_running(runtime, WORKER) is None
    assert runtime.shm(WORKER).exists()
    removed = remove_leftovers(runtime, WORKER)
    assert runtime.shm(WORKER) in removed
    assert not runtime.shm(WORKER).exists()
    assert list(runtime.folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_only_sets_the_flag(runtime: Runtime, number: int) -> None:
    before = signal.getsignal(number)
    with Control(runtime, WORKER, Worker().snapshot, {}) as control:
        os.kill(os.getpid(), number)
        assert control.stop.wait(2)
    assert signal.getsignal(number) is before
