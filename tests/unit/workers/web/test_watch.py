"""What the page says of the workers: losses, events, levels and the balance, from their snapshots."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from detectors.config import Config, parse_config
from detectors.stats import (
    DmaStats,
    FrameStats,
    MonitorStatus,
    OutputStats,
    PacketStats,
    PoolStats,
    Rates,
    ReceiverStatus,
    StreamStatus,
    UpdateStats,
)
from detectors.workers.web.health import Condition
from detectors.workers.web.status import status_tree
from detectors.workers.web.watch import HISTORY, MOST_EVENTS, Watch

DISK = OutputStats(
    "disk", enabled=True, state="Writing", offered=9, written=8, queued=1, bytes=80, free_bytes=500, folder="/d/JF"
)
M00 = ReceiverStatus(
    worker="udp.M00",
    state="Receiving",
    run_state="Enabled",
    pulse_id=2**60 + 1,
    packets=PacketStats(received=1260, placed=1250, late=10, expected=1280, lost=26),
    frames=FrameStats(complete=8, incomplete=1, delivered=9),
    rates=Rates(10.0, 1280.0, 1e6),
    dma=DmaStats(count=80, high_water=3),
    pebble=PoolStats(count=128, in_use=2, high_water=5, acquires=9, returns=7),
    disk=DISK,
)
M01 = replace(M00, worker="udp.M01", rates=Rates(12.0, 1280.0, 2e6))


@pytest.fixture
def config() -> Config:
    modules = "".join(f'[[udp]]\nname = "M0{n}"\nport = {5000 + n}\n' for n in (0, 1))
    return parse_config(f'[detector]\nname = "JF"\nprefix = "T:"\n[web]\n{modules}')


@pytest.fixture
def watch() -> Watch:
    return Watch(["udp.M00", "udp.M01"], 10.0)


def take(watch: Watch, status: Any, now_s: float = 0.0) -> None:
    watch.take(asdict(status), now_s)


def test_a_loss_is_an_event_that_grows_while_it_goes_on(watch: Watch) -> None:
    take(watch, M00, 0)
    assert not watch.events
    for n, now_s in ((27, 1), (30, 8), (30, 12), (31, 19.5)):
        take(watch, replace(M00, packets=replace(M00.packets, lost=n)), now_s)
    assert [(e.source, e.level, e.text) for e in watch.events] == [
        ("udp.M00", Condition.LOSING, "1 packets lost"),
        ("udp.M00", Condition.LOSING, "4 packets lost"),
    ]
    assert watch.workers["udp.M00"].level == Condition.LOSING
    watch.tick(19.6)
    assert watch.workers["udp.M00"].lost_recently == 1
    assert watch.history[-1][4] == 5
    watch.tick(30)
    assert watch.workers["udp.M00"].lost_recently == 0


def test_totals_that_were_reset_are_no_loss(watch: Watch) -> None:
    take(watch, M00)
    take(watch, replace(M00, packets=PacketStats()))
    take(watch, replace(M00, packets=PacketStats(lost=2)))
    assert [e.text for e in watch.events] == ["2 packets lost"]


def test_what_a_live_stream_drops_is_told_but_is_no_loss(watch: Watch) -> None:
    take(watch, M00)
    take(watch, replace(M00, zmq=OutputStats("zmq", dropped=3)))
    assert [(e.level, e.text) for e in watch.events] == [(Condition.IDLE, "3 frames dropped for a slow subscriber")]
    assert watch.workers["udp.M00"].level == Condition.GOOD


def test_changes_of_state_are_events(watch: Watch) -> None:
    for state, message in (("Idle", ""), ("Receiving", ""), ("Stalled", "no packets")):
        take(watch, replace(M00, state=state, message=message))
    assert [(e.level, e.text) for e in watch.events] == [
        (Condition.BROKEN, "Receiving → Stalled: no packets"),
        (Condition.GOOD, "Idle → Receiving"),
    ]


def test_silence_is_told_once_and_its_end(watch: Watch) -> None:
    take(watch, M00, 0)
    for now_s in (1.0, 2.1, 3.1):
        watch.tick(now_s)
    assert watch.workers["udp.M00"].level == Condition.BROKEN
    take(watch, M00, 4)
    assert [e.text for e in watch.events] == ["responds again", "does not respond"]
    take(watch, replace(M00, state="Stopped"), 5)
    watch.tick(8)
    assert (watch.events[0].text, watch.workers["udp.M00"].level) == ("ended", Condition.OFF)


def test_history_and_events_are_bounded(watch: Watch) -> None:
    take(watch, M00, 0)
    for n in range(300):
        take(watch, replace(M00, state=f"S{n}"), n)
        watch.tick(n)
    assert (len(watch.history), len(watch.events)) == (HISTORY, MOST_EVENTS)


def test_history_has_the_slowest_and_the_fastest(watch: Watch) -> None:
    take(watch, M00)
    take(watch, M01)
    watch.tick(0.5)
    assert watch.history[-1][1:] == (10.0, 12.0, 3e6, 0)


@pytest.mark.parametrize("snapshot", [{}, {"worker": "x"}])
def test_what_is_no_snapshot_is_refused(watch: Watch, snapshot: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        watch.take(snapshot, 0)


class TestVerdict:
    def verdict(self, config: Config, watch: Watch) -> tuple[str, str]:
        found = status_tree(config, watch, 0.0)["verdict"]
        return found["level"], found["text"]

    def test_workers_that_do_not_run_are_off(self, config: Config, watch: Watch) -> None:
        assert self.verdict(config, watch) == ("off", "udp.M00, udp.M01 do not run")

    def test_good(self, config: Config, watch: Watch) -> None:
        take(watch, M00)
        take(watch, replace(M01, state="Idle"))
        assert self.verdict(config, watch) == ("good", "nothing lost in the last 10 s")

    def test_idle(self, config: Config, watch: Watch) -> None:
        for status in (M00, M01):
            take(watch, replace(status, state="Idle", disk=replace(DISK, state="Idle")))
        assert self.verdict(config, watch) == ("idle", "no data comes")

    def test_a_full_disk_is_worse_than_losses(self, config: Config, watch: Watch) -> None:
        take(watch, M00)
        take(watch, replace(M00, packets=replace(M00.packets, lost=29)))
        assert self.verdict(config, watch) == ("losing", "udp.M00: 3 lost in the last 10 s")
        take(watch, M01)
        assert self.verdict(config, watch) == ("losing", "udp.M00: 3 lost in the last 10 s")
        take(watch, replace(M01, disk=replace(DISK, state="Full", message="no space left")))
        assert self.verdict(config, watch) == ("broken", "udp.M01: disk Full: no space left")


class TestTree:
    def test_has_the_snapshots_as_they_came(self, config: Config, watch: Watch) -> None:
        take(watch, M00, 1.0)
        found = status_tree(config, watch, 1.5)["workers"]["udp.M00"]
        assert found == {"level": Condition.GOOD, "responding": True, "age_s": 0.5, "snapshot": asdict(M00)}

    def test_sources_have_pools_and_what_was_lost(self, config: Config, watch: Watch) -> None:
        take(watch, M00)
        one, other = status_tree(config, watch, 0.0)["sources"]
        assert (one["name"], one["state"], one["pulse_id"], one["losses"]) == (
            "M00", "Receiving", str(2**60 + 1), ["26 packets lost"],
        )  # fmt: skip
        assert [(p["name"], p["in_use"], p["high_water"], p["count"]) for p in one["pools"]] == [
            ("DMA ring", 0, 3, 80),
            ("Pebble", 2, 5, 128),
        ]
        assert (other["level"], other["state"], other["pools"]) == (Condition.OFF, "Off", [])

    def test_the_balance_is_that_of_all_sources(self, config: Config, watch: Watch) -> None:
        take(watch, M00)
        take(watch, M01)
        lines = {line["title"]: line for line in status_tree(config, watch, 0.0)["balance"]}
        expected = lines["Packets expected"]
        assert (expected["total"], expected["open"]) == (2560, 8)
        assert {p["name"]: p["count"] for p in expected["parts"]} == {"placed": 2500, "bad_pulse": 0, "lost": 52}
        assert (lines["Packets received"]["open"], lines["Frames"]["total"], lines["To disk"]["total"]) == (0, 18, 18)
        assert "Updates" not in lines
        assert "To live streams" not in lines

    def test_a_monitor_has_a_balance_of_updates_and_events(self) -> None:
        text = '[detector]\nname = "CAM"\nprefix = "T:"\n[[pva]]\nname = "CAM"\npv = "X"\n'
        watch = Watch(["pva.CAM"], 10.0)
        take(
            watch,
            MonitorStatus(worker="pva.CAM", updates=UpdateStats(updates=5, match=3, expired=2, l1_accepts=3, placed=3)),
        )
        found = status_tree(parse_config(text), watch, 0.0)
        lines = {line["title"]: (line["total"], line["open"]) for line in found["balance"]}
        assert lines == {"Updates": (5, 0), "Events": (3, 0)}
        assert found["modules"] == []

    def test_outputs_are_summed_and_the_worst_speaks(self, config: Config, watch: Watch) -> None:
        take(watch, M00)
        take(watch, replace(M01, disk=replace(DISK, state="Failing", message="I/O error", dropped=2, free_bytes=100)))
        take(
            watch,
            StreamStatus(worker="stream", state="Assembling", full=OutputStats("full", state="Publishing", written=4)),
        )
        disk, full = status_tree(config, watch, 0.0)["outputs"]
        assert (disk["title"], disk["level"], disk["state"], disk["message"]) == (
            "Disk",
            Condition.BROKEN,
            "Failing",
            "I/O error",
        )
        assert (disk["written"], disk["dropped"], disk["free_bytes"]) == (16, 2, 100)
        assert (full["title"], full["level"], full["written"]) == ("Full stream", Condition.GOOD, 4)

    def test_modules_lie_as_the_image_has_them(self, config: Config) -> None:
        found = status_tree(config, Watch(["udp.M00", "udp.M01"], 10.0), 0.0)
        assert [(m["name"], m["row"], m["col"], m["rows"], m["cols"]) for m in found["modules"]] == [
            ("M00", 0, 0, 512, 1024),
            ("M01", 512, 0, 512, 1024),
        ]
        assert not found["placed"]
