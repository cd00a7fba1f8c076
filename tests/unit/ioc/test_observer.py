from dataclasses import asdict, replace
from typing import Any

import pytest

from detectors.stats import PacketStats, Rates, ReceiverStatus
from detectors.workers.commands import SILENCE_S
from ioc.observer import START_S, View
from ioc.roster import Heard, Roster
from ioc.status import ProcessStatus

RUNS = ProcessStatus(enabled=True, running=True, pid=7, started_s=100.0)


def heard(time_s: float, **fields: Any) -> Heard:
    return Heard(time_s, asdict(ReceiverStatus(**{"pid": 7, "state": "Receiving", "message": "", **fields})))


def view() -> View:
    return View(ReceiverStatus(), ["state", "packets.lost", "recent.packets.lost", "recent.process.restarts"], 10.0)


def test_a_worker_that_reports_shows_its_own_state() -> None:
    shown = view()
    shown.look(RUNS, heard(101.0, message="fine", packets=PacketStats(lost=3)), 101.0)
    assert (shown.values["state"], shown.values["message"], shown.values["packets.lost"]) == ("Receiving", "fine", 3)
    assert shown.valid
    assert shown.responding
    assert shown.values["process.responding"]
    assert shown.values["process.pid"] == 7


@pytest.mark.parametrize(
    ("process", "last", "now_s", "expected"),
    [
        (ProcessStatus(), None, 0.0, ("Off", "", True)),
        (ProcessStatus(enabled=True), None, 0.0, ("Starting", "", True)),
        (RUNS, None, 100.0 + START_S, ("Starting", "", True)),
        (RUNS, None, 100.1 + START_S, ("Failed", "process 7 sent no snapshot since its start", False)),
        (RUNS, heard(101.0), 101.0 + SILENCE_S, ("Receiving", "", True)),
        (RUNS, heard(101.0), 101.1 + SILENCE_S, ("Failed", "process 7 sent no snapshot for more than 2 s", False)),
        (RUNS, heard(99.0, pid=6), 101.0, ("Starting", "", True)),
        (replace(RUNS, running=False, pid=0, message="killed"), heard(101.0), 101.0, ("Failed", "killed", False)),
        (replace(RUNS, enabled=False), heard(101.0), 101.0, ("Receiving", "", True)),
        (ProcessStatus(message="ended"), heard(101.0), 101.0, ("Off", "", True)),
    ],
    ids=[
        "off",
        "about to start",
        "starting",
        "never came",
        "quiet",
        "silent",
        "of another pid",
        "died",
        "stopping",
        "off again",
    ],
)
def test_the_process_decides_when_the_worker_cannot(
    process: ProcessStatus, last: Heard | None, now_s: float, expected: tuple[str, str, bool]
) -> None:
    shown = view()
    shown.look(process, last, now_s)
    assert (shown.values["state"], shown.values["message"], shown.valid) == expected


def test_a_worker_that_does_not_run_is_at_rest_and_keeps_its_totals() -> None:
    seen = view()
    snapshot = heard(101.0, rates=Rates(100.0, 12800.0, 1e8), packets=PacketStats(received=9))
    snapshot.snapshot["disk"]["state"] = "Failing"  # type: ignore[index]
    snapshot.snapshot["pebble"]["in_use"] = 4  # type: ignore[index]
    seen.look(RUNS, snapshot, 101.0)
    values = seen.look(ProcessStatus(), snapshot, 102.0)
    assert values["rates.frames_hz"] == values["rates.packets_hz"] == values["rates.bytes_per_s"] == 0
    assert values["pebble.in_use"] == 0
    assert values["disk.state"] == "Off"
    assert values["packets.received"] == 9


def test_what_was_gained_of_late_outlives_the_worker() -> None:
    seen = view()
    seen.look(RUNS, heard(101.0), 101.0)
    assert seen.look(RUNS, heard(102.0, packets=PacketStats(lost=5)), 102.0)["recent.packets.lost"] == 5
    again = replace(RUNS, pid=8, restarts=1)
    values = seen.look(again, heard(103.0, pid=8, packets=PacketStats(lost=1)), 103.0)
    assert values["recent.packets.lost"] == 6
    assert values["recent.process.restarts"] == 1
    assert seen.look(again, heard(112.5, pid=8, packets=PacketStats(lost=1)), 112.5)["recent.packets.lost"] == 1


def test_a_tick_without_news_shows_only_what_decays() -> None:
    seen, roster = view(), Roster({"udp.M00": None})
    roster.processes["udp.M00"] = RUNS

    def hear(now_s: float, **fields: Any) -> dict[str, Any]:
        snapshot = asdict(ReceiverStatus(worker="udp.M00", pid=7, state="Receiving", time_ns=int(now_s), **fields))
        roster.snapshot(snapshot, now_s)
        return dict(look(now_s))

    def look(now_s: float) -> Any:
        return seen.look(RUNS, roster.heard["udp.M00"], now_s)

    hear(101.0)
    assert look(101.1) == {}
    assert hear(101.2) == {}  # a new snapshot with nothing new in it
    assert hear(101.3, packets=PacketStats(lost=5))["recent.packets.lost"] == 5
    assert look(101.4) == {"recent.packets.lost": 5}
    assert look(102.9) == {"recent.packets.lost": 5}
    assert hear(111.4, packets=PacketStats(lost=5)) == {"recent.packets.lost": 0}
    assert look(111.5) == {}
    assert look(111.5 + SILENCE_S)["state"] == "Failed"
    assert hear(114.0, packets=PacketStats(lost=5))["state"] == "Receiving"


def test_a_new_ioc_finds_the_totals_as_they_are() -> None:
    """Of a loss long before it: shown, and not recent, whether the worker runs or not."""
    page = {"packets.lost": 15161, "counted_since": "then", "last.framenum": 3}
    for totals in (lambda: page, dict):
        shown = View(ReceiverStatus(), ["packets.lost", "recent.packets.lost"], 10.0, totals)
        assert shown.values["packets.lost"] == totals().get("packets.lost", 0)
        shown.look(RUNS, None, 100.5)
        shown.look(RUNS, heard(101.0, packets=PacketStats(lost=15161)), 101.0)
        assert (shown.values["packets.lost"], shown.values["recent.packets.lost"]) == (15161, 0)
        shown.look(RUNS, heard(102.0, packets=PacketStats(lost=15163)), 102.0)
        assert shown.values["recent.packets.lost"] == 2
        assert "last.framenum" not in shown.values


def test_a_worker_that_ended_shows_the_totals_of_its_page() -> None:
    page = {"packets.lost": 3}
    shown = View(ReceiverStatus(), ["packets.lost", "recent.packets.lost"], 10.0, lambda: page)
    shown.look(RUNS, None, 100.5)
    shown.look(RUNS, heard(101.0, packets=PacketStats(lost=5)), 101.0)
    page["packets.lost"] = 9
    shown.look(ProcessStatus(message="killed"), heard(101.0), 102.0)
    assert (shown.values["packets.lost"], shown.values["recent.packets.lost"]) == (9, 6)


@pytest.mark.parametrize(("window_s", "expected"), [(10.0, 0), (60.0, 3)])
def test_what_is_recent_is_so_for_the_window(window_s: float, expected: int) -> None:
    shown = View(ReceiverStatus(), ["recent.packets.lost"], window_s=window_s)
    for now_s, lost in ((101.0, 0), (102.0, 3), (120.0, 3)):
        shown.look(RUNS, heard(now_s, packets=PacketStats(lost=lost)), now_s)
    assert shown.values["recent.packets.lost"] == expected
