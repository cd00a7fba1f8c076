import io

from rich.console import Console

from detectors.stats import (
    DmaStats,
    FrameStats,
    MonitorStatus,
    OutputStats,
    PacketStats,
    PoolStats,
    Rates,
    ReceiverStatus,
    UpdateStats,
)
from ioc.demo.audit import Line
from ioc.demo.screen import Screen, summary

SNAPSHOTS = {
    "udp.M00": ReceiverStatus(
        state="Receiving",
        packets=PacketStats(lost=17),
        frames=FrameStats(complete=1234),
        rates=Rates(100.0, 12800.0, 104_857_600.0),
        dma=DmaStats(64, in_use=2, high_water=9),
        pebble=PoolStats(128, in_use=3, high_water=11),
        disk=OutputStats(written=1230, queued=4),
    ),
    "pva.CAM": MonitorStatus(
        state="Idle", updates=UpdateStats(placed=55), transition=PoolStats(32, in_use=1, high_water=2)
    ),
}


def shown(live):
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=live)
    with Screen(console, live=live) as screen:
        screen.show("DEMO 3 of 15 s", SNAPSHOTS)
    return out.getvalue()


def test_the_table_holds_what_the_snapshots_say():
    text = shown(live=True)
    for word in (
        "DEMO 3 of 15 s",
        "M00",
        "Receiving",
        "104.9",
        "1234",
        "17 packets",
        "2 / 9 / 64",
        "3 / 11 / 128",
        "1230",
        "CAM",
        "1 / 2 / 32",
    ):
        assert word in text


def test_lines_hold_the_same():
    module, camera = shown(live=False).splitlines()
    for word in (
        "DEMO 3 of 15 s",
        "udp.M00",
        "state Receiving",
        "lost 17 packets",
        "pebble 3 / 11 / 128",
        "written to disk 1230",
    ):
        assert word in module
    assert "transition" not in module
    assert "frames 55" in camera


def test_the_summary_shows_what_is_wrong_and_gathers_what_is_zero():
    out = io.StringIO()
    Console(file=out, width=120).print(
        summary([Line("frames", 10, 10), Line("lost", 0, 0), Line("gone", 0, 0), Line("pixels", 1, 0)])
    )
    lines = out.getvalue().splitlines()
    assert any("frames" in line and "ok" in line for line in lines)
    assert any("pixels" in line and "WRONG" in line for line in lines)
    assert any("2 more" in line for line in lines)
