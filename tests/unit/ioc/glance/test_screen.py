import io

from rich.console import Console

from detectors.stats import (
    BrowserStats,
    DmaStats,
    FrameStats,
    ImagesStatus,
    MonitorStatus,
    OutputStats,
    PacketStats,
    PoolStats,
    Rates,
    ReceiverStatus,
    ShownStats,
    StreamStatus,
    UpdateStats,
    WebStatus,
    flat,
)
from ioc.glance.recent_losses import RecentLosses
from ioc.glance.screen import Screen
from ioc.glance.table import WIDTH, render
from ioc.glance.verdict import WorkerView, judge

SNAPSHOTS = {
    "udp.M00": ReceiverStatus(
        state="Receiving",
        packets=PacketStats(lost=17),
        frames=FrameStats(complete=1234),
        rates=Rates(100.0, 12800.0, 104_857_600.0),
        dma=DmaStats(64, in_use=2, high_water=9),
        pebble=PoolStats(128, in_use=3, high_water=11),
        disk=OutputStats(written=1230, queued=4, state="Writing"),
    ),
    "pva.CAM": MonitorStatus(
        state="Idle",
        updates=UpdateStats(placed=55),
        pebble=PoolStats(32),
        transition=PoolStats(32, in_use=1, high_water=2),
    ),
}


def shown(views, *, live, colour=False):
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, force_terminal=live, no_color=not colour)
    with Screen(console, live=live) as screen:
        screen.show("DEMO 3 of 15 s", views, judge(views), 10.0)
    return out.getvalue()


def views():
    return RecentLosses(10.0).views(SNAPSHOTS, 0.0)


def test_the_table_holds_what_the_snapshots_say():
    text = shown(views(), live=True)
    for word in (
        "DEMO 3 of 15 s",
        "good",
        "M00",
        "Receiving",
        "104.9",
        "100/s",
        "0/17",
        "2/9/64",
        "3/11/128",
        "Writing",
    ):
        assert word in text
    for word in ("CAM", "transition", "1/2/32"):
        assert word in text


def test_lines_hold_the_same():
    head, module, camera = shown(views(), live=False).splitlines()
    assert head == "DEMO 3 of 15 s  good"
    for word in ("DEMO 3 of 15 s", "udp.M00", "state Receiving", "lost 0/17", "pebble 3/11/128", "disk Writing"):
        assert word in module
    assert "transition" not in module
    assert "transition 1/2/32" in camera


def test_a_screen_of_many_workers_fits_eighty_columns_whatever_they_say():
    long = "found the shape (2048, 2048), expected (1024, 1024); correct shape in the configuration, or the camera"
    busy = ReceiverStatus(
        state="Receiving",
        message=long,
        packets=PacketStats(lost=123_456_789),
        rates=Rates(12_345.0, 1e6, 3e9),
        pebble=PoolStats(8192, in_use=8191, high_water=8192),
        disk=OutputStats(state="Failing", message=long),
        zmq=OutputStats(state="Publishing"),
    )
    many = {f"udp.a-module-with-a-long-name-{n:02}": busy for n in range(32)}
    many |= {
        "stream": StreamStatus(full=OutputStats(state="Behind")),
        "images": ImagesStatus(image=ShownStats(2, 5, 1.0)),
        "web": WebStatus(browsers=BrowserStats(clients=3, images_hz=9.8)),
    }
    console = Console(file=(out := io.StringIO()), width=WIDTH)
    rows = RecentLosses(10.0).views(many, 0.0)
    console.print(render("A:LONG:PREFIX:OF:A:DETECTOR:", rows, judge(rows), 10.0))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert "and 26 more" in "\n".join(lines)
    assert any("Behind" in line for line in lines)
    assert any("2 clients" in line for line in lines)
    assert any("10/s" in line and "3 clients" in line for line in lines)
    assert "correct shape in the configuration, or the camera" in " ".join(" ".join(lines).split())


def test_the_word_has_a_colour_on_a_terminal_only():
    broken = [WorkerView("udp.M00", {}, running=False), WorkerView("udp.M01", flat(ReceiverStatus(state="Idle")))]
    assert "\x1b[1;7;31m broken " in shown(broken, live=True, colour=True)
    assert "\x1b" not in shown(broken, live=False)
