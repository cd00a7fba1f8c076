import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq

from detectors.errors import CommandError, HostError
from detectors.runtime_names import RuntimeNames
from detectors.stats import PacketStats, ReceiverStatus
from detectors.workers.account import Account
from detectors.workers.commands import encode, request
from detectors.workers.control_thread import KILLED
from detectors.workers.runtime import QUIET_S, run_part
from detectors.workers.wake import Wake
from tests.support.fake_part import FakePart, running
from tests.support.waiting import until

WORKER = "udp.M00"


@pytest.fixture
def runtime(short_runtime_dir: Path) -> Iterator[RuntimeNames]:
    yield RuntimeNames("T:RUNTIME:")
    assert [p for p in short_runtime_dir.rglob("*") if not p.is_dir()] == []


@pytest.fixture
def client() -> Iterator[Any]:
    """A factory of sockets connected to an address: REQ, or SUB for ``kind``."""
    with zmq.Context() as context, ExitStack() as stack:

        def connect(address: str, kind: int = zmq.REQ) -> zmq.Socket[bytes]:
            socket = stack.enter_context(context.socket(kind))
            socket.linger = 0
            if kind == zmq.SUB:
                socket.subscribe(b"")
            socket.connect(address)
            return socket

        yield connect


def answer(socket: zmq.Socket[bytes]) -> dict[str, Any]:
    assert socket.poll(20_000)
    reply = socket.recv_json()
    assert isinstance(reply, dict)
    return reply


def last(socket: zmq.Socket[bytes], state: str) -> dict[str, Any]:
    """The first snapshot with a state, with which a worker ends."""
    while (status := answer(socket))["state"] != state:
        pass
    return status


def switch(output: str, enabled: bool) -> str:
    if output != "disk":
        raise CommandError(f"output: found {output!r}")
    return f"{output} {enabled}"


def test_commands_go_in_and_replies_come_out(runtime: RuntimeNames) -> None:
    with running(FakePart(output=switch), runtime) as command:
        assert request(command, "output", output="disk", enabled=True) == "disk True"
        assert request(command, "status")["packets"]["lost"] == 0
        with pytest.raises(CommandError, match="output: found 'tape'"):
            request(command, "output", output="tape", enabled=True)
        with pytest.raises(
            CommandError,
            match="found the command 'explode', expected one of: clock, output, reset_counters, status, stop",
        ):
            request(command, "explode")
        with pytest.raises(CommandError, match="unexpected keyword"):
            request(command, "output", colour="red")


def test_a_snapshot_has_the_head_of_its_worker(runtime: RuntimeNames, client: Any) -> None:
    with running(FakePart(), runtime):
        status = answer(client(runtime.status(WORKER), zmq.SUB))
    assert (status["worker"], status["kind"], status["pid"], status["state"]) == (
        WORKER,
        "receiver",
        os.getpid(),
        "Idle",
    )
    assert status["version"]
    assert abs(time.time_ns() - status["time_ns"]) < 60_000_000_000


def test_the_last_snapshot_is_published_at_the_end(runtime: RuntimeNames, client: Any) -> None:
    part = FakePart()
    with running(part, runtime):
        socket = client(runtime.status(WORKER), zmq.SUB)
        answer(socket)
        part.status = replace(part.status, message="all written")
    assert last(socket, "Stopped")["message"] == "all written"


def test_an_error_of_the_part_is_the_last_snapshot(runtime: RuntimeNames, client: Any) -> None:
    class Broken(FakePart):
        def step(self) -> float:
            if broken.is_set():
                raise HostError("the socket is gone")
            return 0.01

    broken = threading.Event()
    part = Broken()
    found: list[BaseException] = []

    def run() -> None:
        try:
            run_part(part, runtime, 1.0)
        except HostError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert part.opened.wait(20)
    socket = client(runtime.status(WORKER), zmq.SUB)
    answer(socket)
    broken.set()
    thread.join(20)
    assert str(found[0]) == "the socket is gone"
    assert last(socket, "Failed")["message"] == "the socket is gone"


def test_a_snapshot_that_fails_does_not_end_the_worker(runtime: RuntimeNames, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakePart):
        def snapshot(self) -> ReceiverStatus:
            raise ZeroDivisionError

    part = Broken(ping=lambda: "pong")
    thread = threading.Thread(target=run_part, args=(part, runtime, 1.0))
    thread.start()
    assert part.opened.wait(20)
    until(lambda: "snapshot failed" in caplog.text)
    assert request(runtime.command(WORKER), "ping", 20.0) == "pong"
    request(runtime.command(WORKER), "stop", 5.0)
    thread.join(20)


def test_snapshots_and_other_commands_go_on_while_an_answer_takes_its_time(runtime: RuntimeNames, client: Any) -> None:
    later: Future[str] = Future()
    with running(FakePart(slow=lambda: later, ping=lambda: "pong"), runtime) as command:
        slow = client(command)
        slow.send(encode("slow", 5.0, {}))
        for _ in range(3):
            assert request(command, "ping", timeout_s=20) == "pong"
        snapshots = client(runtime.status(WORKER), zmq.SUB)
        for _ in range(2):
            answer(snapshots)
        assert not slow.poll(0)
        later.set_result("at last")
        assert answer(slow)["result"] == "at last"


def test_a_refusal_that_comes_later_is_the_answer(runtime: RuntimeNames) -> None:
    refused: Future[str] = Future()
    refused.set_exception(CommandError("not today"))
    with running(FakePart(slow=lambda: refused), runtime) as command, pytest.raises(CommandError, match="not today"):
        request(command, "slow", timeout_s=20)


def test_a_time_out_inside_a_command_has_a_text(runtime: RuntimeNames) -> None:
    def late() -> None:
        raise TimeoutError

    with running(FakePart(late=late), runtime) as command, pytest.raises(CommandError, match=r"^TimeoutError$"):
        request(command, "late")


def test_a_command_that_is_not_answered_in_time_is_cancelled_and_never_runs(runtime: RuntimeNames) -> None:
    ran: list[int] = []
    blocked, go_on = threading.Event(), threading.Event()

    class Stuck(FakePart):
        def step(self) -> float:
            if blocked.is_set():
                go_on.wait(10)
                blocked.clear()
            return 0.01

    with running(Stuck(move=lambda: ran.append(1), ping=lambda: "pong"), runtime) as command:
        blocked.set()
        with pytest.raises(CommandError, match=r"^move: not answered in 0.2 s, cancelled$"):
            request(command, "move", timeout_s=0.2)
        go_on.set()
        assert request(command, "ping", timeout_s=20) == "pong"
        assert ran == []


def test_what_a_cancelled_command_would_do_later_is_cancelled_too(runtime: RuntimeNames) -> None:
    later: Future[None] = Future()
    with running(FakePart(slow=lambda: later), runtime) as command:
        with pytest.raises(CommandError, match=r"^slow: not answered in 0.1 s, cancelled$"):
            request(command, "slow", timeout_s=0.1)
        assert later.cancelled()


def test_a_command_that_has_begun_cannot_be_cancelled_and_says_so(runtime: RuntimeNames) -> None:
    later: Future[None] = Future()
    later.set_running_or_notify_cancel()
    with (
        running(FakePart(slow=lambda: later), runtime) as command,
        pytest.raises(CommandError, match=r"^slow: not finished in 0.1 s; it is still being carried out$"),
    ):
        request(command, "slow", timeout_s=0.1)


def test_commands_are_refused_while_the_worker_starts(runtime: RuntimeNames) -> None:
    go_on = threading.Event()

    class Slow(FakePart):
        def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:
            super().open(stack, wake, account)
            go_on.wait(10)
            return ""

    part = Slow(ping=lambda: "pong")
    thread = threading.Thread(target=run_part, args=(part, runtime, 1.0))
    thread.start()
    assert part.opened.wait(20)
    assert request(runtime.command(WORKER), "status", 5.0)["state"] == "Starting"
    assert request(runtime.command(WORKER), "clock", 5.0)["time_ns"] > 0
    with pytest.raises(CommandError, match="ping: the worker is still starting; try again"):
        request(runtime.command(WORKER), "ping", 20.0)
    request(runtime.command(WORKER), "stop", 5.0)
    go_on.set()
    thread.join(20)
    assert not thread.is_alive()


def test_commands_that_wait_are_answered_at_the_end(runtime: RuntimeNames, client: Any) -> None:
    never: Future[str] = Future()
    asked = threading.Event()

    def forever() -> Future[str]:
        asked.set()
        return never

    with running(FakePart(forever=forever), runtime) as command:
        socket = client(command)
        socket.send(encode("forever", 100.0, {}))
        assert asked.wait(20)
    assert answer(socket) == {"ok": False, "message": "the worker is stopping", "result": None}


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b"3",
        b'{"command": []}',
        b'{"args": 1}',
        b'{"command": "ping", "args": [1]}',
        b'{"command": "ping", "timeout_s": -1}',
        b'{"command": "ping", "timeout_s": "soon"}',
        b"[" * 200_000,
        b'{"command":' * 50_000,
        b"[" * 500_000 + b"]" * 500_000,
    ],
)
def test_garbage_on_the_command_socket_is_answered(runtime: RuntimeNames, client: Any, garbage: bytes) -> None:
    with running(FakePart(ping=lambda: "pong"), runtime) as command:
        socket = client(command)
        socket.send(garbage)
        reply = answer(socket)
        assert reply["ok"] is False
        assert "expected" in reply["message"]
        assert request(command, "ping", 20.0) == "pong"


def test_a_result_that_is_no_json_is_answered(runtime: RuntimeNames) -> None:
    with running(FakePart(odd=object), runtime) as command, pytest.raises(CommandError, match="not JSON serializable"):
        request(command, "odd")


def test_an_idle_worker_hardly_wakes(runtime: RuntimeNames) -> None:
    part = FakePart()
    part.idle_s = 100.0
    with running(part, runtime):
        before, began_s = part.steps, time.monotonic()
        time.sleep(2.0)
        assert part.steps - before <= 1 + (time.monotonic() - began_s) / QUIET_S  # one for each snapshot


def test_what_changes_while_nothing_comes_is_seen_as_often_as_before(
    runtime: RuntimeNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detectors.workers.runtime.IDLE_S", 0.01)
    monkeypatch.setattr("detectors.workers.runtime.QUIET_S", 60.0)

    class Changing(FakePart):
        def snapshot(self) -> ReceiverStatus:
            self.status = replace(self.status, pulse_id=min(self.status.pulse_id + 1, 20))
            return self.status

    part = Changing()
    part.idle_s = 100.0
    with running(part, runtime):
        until(lambda: part.status.pulse_id == 20)


def test_a_snapshot_like_the_one_before_has_a_new_time(runtime: RuntimeNames) -> None:
    with running(FakePart(), runtime) as command:
        first, second = (request(command, "status", 20.0) for _ in range(2))
    assert first.pop("time_ns") < second.pop("time_ns")
    assert first == second


def test_totals_that_begin_anew_show_though_nothing_else_changes(runtime: RuntimeNames) -> None:
    part = FakePart()
    part.status = replace(part.status, packets=PacketStats(received=7, malformed=7))
    with running(part, runtime) as command:
        assert request(command, "status", 20.0)["packets"]["malformed"] == 7
        request(command, "reset_counters", 20.0)
        assert request(command, "status", 20.0)["packets"]["malformed"] == 0


def test_a_ring_ends_the_wait(runtime: RuntimeNames, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.workers.runtime.IDLE_S", 60.0)
    rung = threading.Event()

    class Rung(FakePart):
        def step(self) -> float:
            if part.expecting:
                rung.set()
            return 100.0

        expecting = False

    part = Rung()
    with running(part, runtime):
        for _ in range(20):
            rung.clear()
            part.expecting = True
            part.wake.ring()
            assert rung.wait(20)  # long before the next snapshot is due
            part.expecting = False


def test_no_answer(runtime: RuntimeNames) -> None:
    with pytest.raises(CommandError, match=r"no answer from .* within 0.1 s"):
        request(runtime.command(WORKER), "ping", timeout_s=0.1)


def test_a_socket_path_too_long_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 90)))
    (tmp_path / ("x" * 90)).mkdir()
    with pytest.raises(HostError, match="longer than 107 bytes; set XDG_RUNTIME_DIR"):
        run_part(FakePart(), RuntimeNames("T:"), 1.0)


PROGRAM = """
import sys, threading, time
from detectors.runtime_names import RuntimeNames
from detectors.workers import control_thread
from detectors.workers.runtime import run_part
from tests.support.fake_part import FakePart
part, runtime = FakePart(), RuntimeNames({prefix!r})
{body}
run_part(part, runtime, 0.5)
"""


def end_of(runtime: RuntimeNames, body: str, number: int = signal.SIGTERM) -> tuple[int, float]:
    """Exit code of a worker that gets a signal when it is ready, and how long it took to end: less than what it is stuck in."""
    program = PROGRAM.format(prefix=runtime.prefix, body=textwrap.dedent(body))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"READY {WORKER} here\n"
        start = time.monotonic()
        process.send_signal(number)
        try:
            return process.wait(40), time.monotonic() - start
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_worker(runtime: RuntimeNames, number: int) -> None:
    assert end_of(runtime, "", number)[0] == 0


def test_a_signal_ends_the_worker_while_the_control_thread_is_blocked(runtime: RuntimeNames) -> None:
    body = """
        free = threading.Event()
        part.finish = lambda deadline_s: free.set()
        control_thread.to_json = lambda snapshot: free.wait(60) and b"{}"
    """
    assert end_of(runtime, body)[0] == 0


def test_a_worker_whose_data_thread_is_stuck_is_ended_after_its_drain_time(runtime: RuntimeNames) -> None:
    code, took_s = end_of(runtime, "part.finish = lambda deadline_s: time.sleep(60)")
    assert code == KILLED
    assert took_s >= 1.0
    for left in runtime.folder.iterdir():
        left.unlink()
