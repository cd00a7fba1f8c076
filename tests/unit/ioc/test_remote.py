import asyncio
from typing import Any

import pytest

from detectors.errors import CommandError
from ioc.link import NoAnswerError
from ioc.remote import LOST_S, RemoteWorker
from ioc.roster import Roster
from ioc.status import ProcessStatus

WORKER = "udp.M00"


class Bench:
    """A worker on the host daq1, whose snapshots a test makes."""

    def __init__(self) -> None:
        self.roster = Roster({WORKER: None})
        self.enabled = {WORKER: False}
        self.asked: list[str] = []
        self.reachable = True
        self.remote = RemoteWorker(self.roster, self.ask, WORKER, "daq1", enabled=self.enabled, drain_s=0.0)

    async def ask(self, worker: str, command: str) -> None:
        self.asked.append(f"{worker} {command}")
        if not self.reachable:
            raise NoAnswerError("stop: no answer within 2 s")

    def heard(self, now_s: float, **snapshot: Any) -> ProcessStatus:
        self.roster.snapshot({"worker": WORKER, "state": "Receiving", "pid": 7, **snapshot}, now_s)
        return self.at(now_s)

    def at(self, now_s: float) -> ProcessStatus:
        self.remote.look(now_s)
        return self.roster.processes[WORKER]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_who_is_heard_of_is_adopted_and_is_to_run(bench: Bench) -> None:
    process = bench.heard(100.0)
    assert (process.enabled, process.running, process.adopted, process.pid) == (True, True, True, 7)
    assert process.started_s == 100.0
    assert bench.enabled[WORKER]


def test_one_that_is_to_run_and_never_heard_of_says_where_to_start_it(bench: Bench) -> None:
    bench.remote.expect()
    assert bench.at(100.0).message == ""
    assert bench.at(100.0 + LOST_S).message == ""
    assert bench.at(100.1 + LOST_S).message == "was not heard of on daq1: start it there, with its service"
    assert bench.heard(200.0).message == ""


def test_one_that_is_not_to_run_is_not_missed(bench: Bench) -> None:
    bench.at(100.0)
    assert bench.at(200.0) == ProcessStatus()


def test_silence_is_an_end(bench: Bench) -> None:
    bench.heard(100.0)
    assert bench.at(100.0 + LOST_S).running
    process = bench.at(100.1 + LOST_S)
    assert (process.enabled, process.running, process.pid) == (True, False, 0)
    assert process.message == "no snapshot from daq1 for 5 s: the worker, its host or the network is down"


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ({"state": "Stopped"}, "ended"),
        ({"state": "Failed", "message": "port 50000 is taken"}, "ended: port 50000 is taken"),
    ],
)
def test_the_last_snapshot_says_how_it_ended(bench: Bench, last: dict[str, str], message: str) -> None:
    bench.heard(100.0)
    process = bench.heard(101.0, **last)
    assert (process.running, process.message) == (False, message)
    assert bench.at(200.0).message == message


def test_another_process_is_a_restart_also_without_a_silence(bench: Bench) -> None:
    bench.heard(100.0)
    process = bench.heard(101.0, pid=8)
    assert (process.pid, process.restarts, process.started_s) == (8, 1, 101.0)
    bench.at(200.0)
    assert bench.heard(201.0, pid=9).restarts == 2


def test_a_link_that_was_down_is_no_restart(bench: Bench) -> None:
    bench.heard(100.0)
    bench.at(200.0)
    assert bench.heard(201.0).restarts == 0


async def _ends_meanwhile(bench: Bench, **last: Any) -> None:
    ending = asyncio.create_task(bench.remote.disable())
    await asyncio.sleep(0)
    bench.heard(101.0)  # what it still sends does not make it run again
    assert not ending.done()
    bench.heard(102.0, **last)
    await ending


def test_it_is_told_to_stop_and_its_end_is_waited_for(bench: Bench) -> None:
    bench.heard(100.0)
    asyncio.run(_ends_meanwhile(bench, state="Stopped"))
    assert bench.asked == ["udp.M00 stop"]
    process = bench.roster.processes[WORKER]
    assert (process.enabled, process.running, process.message) == (False, False, "")
    process = bench.heard(110.0, pid=9)  # launched there by hand
    assert (process.enabled, process.running, process.restarts) == (True, True, 0)


def test_one_that_cannot_be_told_goes_on(bench: Bench) -> None:
    bench.heard(100.0)
    bench.reachable = False
    with pytest.raises(NoAnswerError):
        asyncio.run(bench.remote.disable())
    assert bench.at(101.0).enabled
    assert bench.heard(101.0).running


def test_only_its_host_starts_it(bench: Bench) -> None:
    with pytest.raises(CommandError, match=r"^udp.M00 does not run on daq1, and only that host can start it"):
        asyncio.run(bench.remote.enable())
    bench.heard(100.0)
    asyncio.run(bench.remote.enable())
    assert bench.asked == []
