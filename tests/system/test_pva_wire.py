"""Both PVA clients against servers that segment, speak big-endian, get stuck, or lie."""

import getpass
import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from detectors.pva import Timeouts, session
from detectors.sources.image_source import ImageSource
from detectors.sources.pva_direct import DirectClient
from detectors.sources.pva_p4p import P4pClient
from detectors.sources.pvspec import parse_pv_spec
from sim.pva_encode import NTNDARRAY, ntndarray
from sim.pva_server import SimulatedPvaServer
from tests.support.images import UNION_MEMBERS, image, memory
from tests.support.ports import free_ports
from tests.support.recording_sink import RecordingSink, watching

ROOT = Path(__file__).parents[2]
PV = "CAM:Image"
PATIENT = Timeouts(connect=20.0, stall=20.0, silence=20.0, first_retry=0.01, last_retry=0.1)
"""With a server that is right: this process may be busy meanwhile."""
QUICK = Timeouts(connect=20.0, stall=0.5, silence=1.0, first_retry=0.01, last_retry=0.1)
"""With one that gets stuck, or is silent."""

pytestmark = pytest.mark.usefixtures("own_epics")


def watch(
    client: str = "direct", *, room: int | None = None, when_full: str = "drop", timeouts: Timeouts = PATIENT
) -> AbstractContextManager[RecordingSink]:
    served = DirectClient(timeouts=timeouts) if client == "direct" else P4pClient()
    return watching(ImageSource(parse_pv_spec(PV, "cam"), when_full, served), room)


@pytest.mark.long
@pytest.mark.parametrize("client", ["direct", "p4p"])
@pytest.mark.parametrize("big", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("segment", [0, 7, 4096])
def test_byte_orders_and_segments(
    client: str, big: bool, segment: int, own_epics: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # pvxs keeps the UDP port to itself; it asks name servers as well
    monkeypatch.setenv("EPICS_PVA_NAME_SERVERS", f"127.0.0.1:{own_epics['EPICS_PVA_SERVER_PORT']}")
    with SimulatedPvaServer(PV, big=big, segment=segment, udp=False) as server, watch(client) as sink:
        server.wait_subscribed()
        for number, dtype in enumerate(UNION_MEMBERS):
            for again in range(2):  # the first of a kind goes through memory of the client's own, the second does not
                server.post(ntndarray(image(dtype, (60, 77), number), 2 * number + again, {"n": number}))
                sink.wait_for("update", 2 * number + again + 1)  # p4p's queue is short
    for at, (update, data) in enumerate(sink.of("update")):
        expected = memory(image(list(UNION_MEMBERS)[at // 2], (60, 77), at // 2))
        assert (update.unique_id, update.dtype, update.attributes) == (at, expected.dtype.name, {"n": at // 2})
        np.testing.assert_array_equal(data, expected)


@pytest.mark.parametrize("big", [False, True], ids=["little", "big"])
def test_unmarked_fields_keep_their_values(big: bool) -> None:
    first, second = (ntndarray(image("int16", (4, 5), n), n, {"n": n}) for n in (1, 2))
    with SimulatedPvaServer(PV, big=big) as server, watch() as sink:
        server.wait_subscribed()
        server.post(first)
        server.post(second, ["value", "uniqueId"])
        server.post(second, ["attribute"])
        server.post(first, ["value"])
        sink.wait_for("update", 3)
    assert sink.ids() == [1, 2, 2]
    assert [u.attributes for u, _ in sink.of("update")] == [{"n": 1}, {"n": 1}, {"n": 2}]
    assert [e for e in sink.kinds() if e == "empty"] == ["empty"]


@pytest.mark.parametrize("segment", [0, 3_000_000])
def test_the_last_bytes_of_a_large_image_wake_us(segment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few of them come behind those that were left to gather, and nothing behind them."""
    with SimulatedPvaServer(PV, segment=segment) as server, monkeypatch.context() as m, watch() as sink:
        m.setattr(session, "_TICK_S", 120.0)  # else it is the time-out of a receive call that brings them
        server.wait_subscribed()
        for number in range(3):
            server.post(ntndarray(image("uint16", (1500, 1500), number), number))
            sink.wait_for("update", number + 1)
        m.undo()
        server.drop_clients()
    assert sink.ids() == [0, 1, 2]
    np.testing.assert_array_equal(sink.of("update")[-1][1], image("uint16", (1500, 1500), 2))


def test_dropped_images_are_read_past() -> None:
    with SimulatedPvaServer(PV) as server, watch(room=2) as sink:
        server.wait_subscribed()
        for number in range(5):
            server.post(ntndarray(image("uint16", (700, 600), number), number))
        sink.wait_for("dropped", 3)
        sink.room = 1
        server.post(ntndarray(image("uint16", (700, 600), 5), 5))
        sink.wait_for("update", 3)
    assert sink.ids() == [0, 1, 5]
    np.testing.assert_array_equal(sink.of("update")[-1][1], image("uint16", (700, 600), 5))


def test_a_server_stuck_in_a_message_is_left() -> None:
    pixels = ntndarray(image("uint16", (300, 400), 1), 1)
    with SimulatedPvaServer(PV) as server, watch(timeouts=QUICK) as sink:
        server.wait_subscribed()
        server.post(pixels)
        sink.wait_for("update")
        server.post(pixels, cut=100_000)
        sink.wait_for("disconnected")
        assert "middle of a message" in sink.of("disconnected")[0][0]
        server.wait_subscribed(2)
        server.post(pixels)
        sink.wait_for("update", 2)
    assert sink.kinds() == ["connected", "update", "abandon", "disconnected", "connected", "update"]


def test_an_idle_server_is_asked_and_believed_while_it_answers() -> None:
    with SimulatedPvaServer(PV) as server, watch(timeouts=QUICK) as sink:
        server.wait_subscribed()
        server.wait_for(lambda: server.echoes >= 3)
        assert sink.events == []
        server.mute_echo = True
        sink.wait_for("disconnected")
    assert "does not answer" in sink.of("disconnected")[0][0]


def test_a_held_source_goes_on_answering() -> None:
    with SimulatedPvaServer(PV) as server, watch(room=1, when_full="hold", timeouts=QUICK) as sink:
        server.wait_subscribed()
        for number in range(3):
            server.post(ntndarray(image("uint8", (30, 40), number), number))
        sink.wait_for("update")
        heard = server.echoes
        server.wait_for(lambda: server.echoes >= heard + 3)
        sink.room = 5
        sink.wait_for("update", 3)
    assert sink.ids() == [0, 1, 2]


@pytest.mark.parametrize(
    "lie",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xca\x02\x50\x0d\x10\x00\x00\x00" + bytes(16) + b"\xca\x02\x40\x0d\x00\x00\x00\x00",
        b"\xca\x02\x40\x0d\x0a\x00\x00\x00" + b"\x01\0\0\0" + b"\x00\x01\x02" + b"\x06\xfe\xff",
        b"\xca\x02\x40\x0d\xff\xff\xff\xff" + b"\x01\0\0\0" + b"\x00\x01\x04" + bytes(4096),
    ],
    ids=["http", "restart", "truncated", "endless"],
)
def test_a_lying_server_is_left_and_tried_again(lie: bytes) -> None:
    with SimulatedPvaServer(PV) as server, watch() as sink:
        server.wait_subscribed()
        server.send_raw(lie)
        sink.wait_for("disconnected")
        server.wait_subscribed(2)
        server.post(ntndarray(image("uint8", (3, 4), 1), 1))
        sink.wait_for("update")


def test_a_refused_channel_is_tried_again() -> None:
    with SimulatedPvaServer(PV) as server:
        server.refuse = "not today"
        with watch() as sink:
            sink.wait_for("disconnected")
            assert "not today" in sink.of("disconnected")[0][0]
            server.refuse = ""
            server.wait_subscribed()
            server.post(ntndarray(image("uint8", (3, 4), 1), 1))
            sink.wait_for("update")


def test_we_give_our_name_and_say_goodbye() -> None:
    with SimulatedPvaServer(PV) as server:
        with watch() as sink:
            server.wait_subscribed()
            server.post(ntndarray(image("uint8", (3, 4), 1), 1))
            sink.wait_for("update")
        server.wait_for(lambda: server.goodbyes == 2)
        assert server.users == [("ca", getpass.getuser())]


def test_name_servers_are_asked_over_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("EPICS_PVA_ADDR_LIST", "")
    monkeypatch.setenv("EPICS_PVA_NAME_SERVERS", f"127.0.0.1:{port}")
    with SimulatedPvaServer(PV, udp=False, port=port) as server, watch() as sink:
        server.wait_subscribed()
        server.post(ntndarray(image("uint8", (3, 4), 1), 1))
        sink.wait_for("update")


def test_another_type_after_a_restart() -> None:
    arrays = ("struct", "epics:nt/NTScalarArray:1.0", {"value": "double[]", "timeStamp": NTNDARRAY[2]["timeStamp"]})
    with watch() as sink:
        with SimulatedPvaServer(PV) as server:
            server.wait_subscribed()
            server.post(ntndarray(image("uint8", (3, 4), 1), 1))
            sink.wait_for("update")
        with SimulatedPvaServer(PV, arrays) as server:
            server.wait_subscribed()
            stamp = {"secondsPastEpoch": 12, "nanoseconds": 5, "userTag": 0}
            server.post({"value": [1.0, 2.0, 3.0], "timeStamp": stamp})
            sink.wait_for("update", 2)
    update, data = sink.of("update")[-1]
    assert (update.dtype, update.shape, update.timestamp_ns) == ("float64", (3,), 12_000_000_005)
    assert data.tolist() == [1.0, 2.0, 3.0]


def test_closing_ends_a_held_read() -> None:
    with SimulatedPvaServer(PV) as server:
        before = threading.active_count()
        with watch(room=0, when_full="hold") as sink:
            server.wait_subscribed()
            server.post(ntndarray(image("uint8", (3, 4), 1), 1))
            sink.wait_for("connected")
        assert threading.active_count() <= before + 1  # the server's thread for the client may still end


def test_the_example_of_the_readme_runs() -> None:
    readme = (ROOT / "detectors" / "pva" / "README.md").read_text()
    example = readme.split("```python\n")[1].split("```")[0].replace("SIM:CAM:image", PV)
    with SimulatedPvaServer(PV, big=True) as server:
        command = [sys.executable, "-u", "-c", example]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                server.wait_subscribed()
                server.post(ntndarray(np.arange(6, dtype=np.uint16).reshape(2, 3), 7))
                assert [process.stdout.readline() for _ in range(2)] == [
                    "epics:nt/NTNDArray:1.0\n",
                    "image 7 mean 2.5\n",
                ]
            finally:
                process.kill()
