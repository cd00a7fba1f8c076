import asyncio
import time
from pathlib import Path
from typing import Any, Self

import pytest
import zmq.asyncio

from detectors.config import HostSection
from detectors.errors import CommandError
from detectors.hosts import Reach
from detectors.runtime_names import RuntimeNames
from ioc.clocks import Clocks, exchange
from ioc.hosts import Host
from ioc.link import connect
from ioc.roster import Roster
from tests.support.fake_part import FakePart, running

WORKERS = ("udp.M00", "udp.M01")


class Answers:
    """A socket whose other side has a clock that is ``ahead_s``."""

    def __init__(self, ahead_s: float, answer: bytes = b"") -> None:
        self._ahead_ns = int(ahead_s * 1e9)
        self._answer = answer
        self.asked = 0
        self.closed = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()

    async def send(self, message: bytes) -> None:
        assert b'"clock"' in message
        self.asked += 1

    async def recv(self) -> bytes:
        clock = f'"time_ns":{time.time_ns() + self._ahead_ns},"state":"Synchronised","error_ms":1.5,"tai_offset_s":37'
        return self._answer or f'{{"ok":true,"message":"","result":{{{clock}}}}}'.encode()


def roster(responding: tuple[str, ...]) -> Roster:
    found = Roster(dict.fromkeys(WORKERS))
    found.responding = frozenset(responding)
    return found


async def compare(clocks: Clocks, socket: Answers) -> None:
    """Let the clocks be compared once."""
    task = asyncio.create_task(clocks.follow())
    async with asyncio.timeout(10):
        await socket.closed.wait()
    await asyncio.sleep(0)
    task.cancel()


def test_the_offset_of_a_host_is_measured_and_its_snapshots_are_dated_by_it() -> None:
    host = Host(HostSection(name="daq1"), WORKERS)
    known = roster(("udp.M01",))
    socket, asked = Answers(ahead_s=100.0), []

    def connect_to(worker: str) -> Any:
        asked.append(worker)
        return socket

    clocks = Clocks([host], known, connect_to)
    asyncio.run(compare(clocks, socket))
    assert host.knows_clock(time.monotonic())
    assert asked == ["udp.M01"]  # one that responds
    clock = host.status(known, starting=False).clock
    assert abs(clock.offset_ms - 100_000) <= clock.round_trip_ms / 2 + 0.001
    assert (clock.state, clock.error_ms, clock.tai_offset_s) == ("Synchronised", 1.5, 37)

    now_ns = time.time_ns()
    for worker in WORKERS:
        known.snapshot({"worker": worker, "time_ns": now_ns + 100 * 10**9}, 1.0)
        late_ns = now_ns - known.heard[worker].made_ns
        assert 0 <= late_ns <= clock.round_trip_ms * 1e6 + 1000  # never younger than it is


@pytest.mark.parametrize(
    "answer", [b'{"ok":false,"message":"found the command","result":null}', b'{"ok":true,"result":{}}']
)
def test_a_worker_that_cannot_tell_its_clock_leaves_it_unknown(answer: bytes) -> None:
    host = Host(HostSection(name="daq1"), WORKERS)
    socket = Answers(0.0, answer)
    clocks = Clocks([host], roster(WORKERS), lambda _: socket)  # type: ignore[arg-type,return-value]
    asyncio.run(compare(clocks, socket))
    assert not host.knows_clock(time.monotonic())


def test_a_host_that_does_not_respond_is_not_asked() -> None:
    host = Host(HostSection(name="daq1"), WORKERS)

    def connect_to(worker: str) -> Any:
        raise AssertionError(worker)

    async def once() -> None:
        task = asyncio.create_task(Clocks([host], roster(()), connect_to).follow())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()

    asyncio.run(once())


@pytest.mark.usefixtures("short_runtime_dir")
def test_the_clock_of_this_host_is_ours(short_runtime_dir: Path) -> None:
    runtime = RuntimeNames("T:CLOCKS:")

    async def ask() -> Any:
        with zmq.asyncio.Context() as context, connect(context, Reach("", runtime.command("udp.M00"), None)) as socket:
            return await exchange(socket, 8)

    with running(FakePart(), runtime):
        exchanges, answer = asyncio.run(ask())
    assert len(exchanges) == 8
    for asked_ns, answered_ns, round_trip_ns in exchanges:
        assert asked_ns <= answered_ns <= asked_ns + round_trip_ns + 1_000_000
    assert answer["state"] in ("Synchronised", "Unsynchronised", "Unknown")


def test_a_refusal_is_an_error() -> None:
    socket: Any = Answers(0.0, b'{"ok":false,"message":"no","result":null}')
    with pytest.raises(CommandError, match="no"):
        asyncio.run(exchange(socket, 1))
