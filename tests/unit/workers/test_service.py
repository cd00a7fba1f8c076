import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from detectors.runtime_names import RuntimeNames
from detectors.workers import service
from detectors.workers.commands import request
from detectors.workers.service import ServiceNotifier

TIMEOUT_S = 10.0


@pytest.fixture
def manager(short_runtime_dir: Path) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.settimeout(TIMEOUT_S)
        found.bind(str(short_runtime_dir / "notify"))
        yield found


def test_it_says_what_it_is_told_over_a_unix_socket(manager: socket.socket) -> None:
    notifier = ServiceNotifier(manager.getsockname(), 1.0)
    for say, word in (
        (notifier.ready, b"READY=1"),
        (notifier.alive, b"WATCHDOG=1"),
        (notifier.stopping, b"STOPPING=1"),
    ):
        say()
        assert manager.recv(100) == word


def test_an_abstract_socket_is_meant_by_an_at_sign() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(TIMEOUT_S)
        manager.bind(f"\0pebbledaq-test-{os.getpid()}")
        ServiceNotifier(f"@pebbledaq-test-{os.getpid()}").ready()
        assert manager.recv(100) == b"READY=1"


def test_signs_of_life_go_out_at_half_the_watchdogs_time(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [50.0]
    monkeypatch.setattr(service.time, "monotonic", lambda: now[0])
    notifier = ServiceNotifier(manager.getsockname(), 4.0)
    for _ in range(30):
        notifier.alive()
        now[0] += 0.5
    manager.setblocking(False)
    sent = 0
    try:
        while manager.recv(100) == b"WATCHDOG=1":
            sent += 1
    except BlockingIOError:
        pass
    assert sent == 8  # at 0, 2, ... 14 s


def test_what_the_manager_names_is_for_this_process_alone() -> None:
    environment = {
        "NOTIFY_SOCKET": "/run/x",
        "WATCHDOG_USEC": "10000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    assert ServiceNotifier.take(environment)._period_s == 5.0
    assert environment == {"HOME": "/"}
    other = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}
    assert ServiceNotifier.take(other)._period_s == 0.0


@pytest.mark.parametrize("address", ["", "/nowhere/at/all"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    notifier = ServiceNotifier(address, 1.0)
    notifier.ready()
    notifier.alive()
    notifier.stopping()


def test_a_manager_that_does_not_listen_holds_nobody_up(manager: socket.socket) -> None:
    notifier = ServiceNotifier(manager.getsockname())
    for _ in range(10_000):  # more than its queue holds
        notifier.ready()


def test_a_worker_is_ready_alive_and_stopping(manager: socket.socket) -> None:
    runtime = RuntimeNames("T:SERVICE:")
    program = textwrap.dedent(
        f"""
        import os
        from detectors.runtime_names import RuntimeNames
        from detectors.workers.runtime import run_part
        from tests.support.fake_part import FakePart
        part = FakePart(environment=lambda: os.environ.get("NOTIFY_SOCKET", "none"))
        run_part(part, RuntimeNames({runtime.prefix!r}), 1.0)
        """
    )
    environment = {**os.environ, "NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "200000"}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL) as worker:
        assert manager.recv(100) == b"READY=1"
        assert [manager.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
        assert request(runtime.command("udp.M00"), "environment", 5.0) == "none"
        worker.terminate()
        while (word := manager.recv(100)) == b"WATCHDOG=1":
            pass
        assert word == b"STOPPING=1"
