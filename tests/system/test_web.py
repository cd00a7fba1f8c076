"""The page in the browser under the soft-IOC: what it says is what the workers count, and its images are exact."""

import asyncio
import base64
import json
import os
import re
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import websockets
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from websockets.sync.client import connect

from detectors.stats import ReceiverStatus
from detectors.wire.web_image import decode_web
from tests.support.balance import imbalance
from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import prefix_of, write_config
from tests.support.ports import free_ports
from tests.support.process import Process, WorkerProcess
from tests.support.senders import send_frames, sending
from tests.support.two_modules import pattern_image
from tests.support.waiting import until

SHAPE = (512, 1024)
RATE = 20
LOSS, FRAMES = 0.01, 60
"""Of the frames that come with losses."""
FIRST = 1001
"""First pulse of those that come without losses."""

COUNTERS = {
    "packets.received": "PacketsReceived_RBV",
    "packets.placed": "PacketsPlaced_RBV",
    "packets.expected": "PacketsExpected_RBV",
    "packets.lost": "PacketsLost_RBV",
    "frames.delivered": "FramesDelivered_RBV",
    "pebble.high_water": "Pebble:HighWater_RBV",
    "disk.written": "Disk:Written_RBV",
}


class Page:
    """What a program can ask of the page."""

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.host}/{path}", timeout=10) as answer:
            return answer.read()

    def status(self) -> Any:
        return json.loads(self.get("api/status"))

    def snapshot(self, worker: str) -> Any:
        return self.status()["workers"][worker]["snapshot"]

    def metrics(self) -> dict[tuple[str, str], float]:
        families = text_string_to_metric_families(self.get("metrics").decode())
        return {(s.name, s.labels["worker"]): s.value for family in families for s in family.samples}

    def images(self, count: int, bits: int = 16) -> list[tuple[dict[str, Any], np.ndarray]]:
        with connect(f"ws://{self.host}/images?bits={bits}", max_size=None, compression=None) as browser:
            return [decode_web(browser.recv(timeout=20)) for _ in range(count)]


@pytest.fixture(scope="module")
def ports() -> list[int]:
    return free_ports(3)


@pytest.fixture(scope="module")
def page(ports: list[int]) -> Page:
    return Page(ports[2])


@pytest.fixture(scope="module")
def ioc(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path, ports: list[int]) -> Iterator[IocProcess]:
    config = write_config(tmp_path_factory.mktemp("web"), ports=(ports[0], ports[1]))
    section = f"[web]\nport = {ports[2]}\npixels = {1 << 18}\n"
    config.write_text(config.read_text().split("[[pva]]")[0] + section)
    with IocProcess(prefix_of(config), "-m", "ioc", "run", str(config)) as found:
        for name in ("M00:State_RBV", "M01:State_RBV", "Web:State_RBV"):
            found.until(name, "Idle")
        yield found
        found.stop_clean()


@pytest.fixture(scope="module")
def data(ioc: IocProcess, ports: list[int]) -> Iterator[None]:
    """Both modules, sending for as long as the tests need it."""
    assert ioc.value("M00:State_RBV") in {"Idle", "Receiving", "Stalled"}
    with sending(ports[:2], "--rate", str(RATE), "--first-frame", str(FIRST), "--start", str(FIRST)):
        ioc.until("M00:PulseId_RBV", lambda pulse: pulse > FIRST)
        yield


def thinned(pulse_id: int) -> np.ndarray:
    return pattern_image(pulse_id, shape=SHAPE)[1::2, 1::2]


def reading(snapshot: Any, counter: str) -> Any:
    part, name = counter.split(".")
    return snapshot[part][name]


def test_a_browser_that_comes_first_is_told_what_is_missing(ioc: IocProcess, page: Page) -> None:
    assert ioc.value("Web:Address_RBV") == f"http://{page.host}/"
    with pytest.raises(urllib.error.HTTPError) as error:
        page.get("preview.jpg")
    with error.value as answer:
        assert answer.code == 503
        assert answer.read().startswith(b"no image: ")
    with pytest.raises(urllib.error.HTTPError) as error:
        page.get("preview.jpg?detector=NONE")
    error.value.close()
    assert error.value.code == 404


@pytest.mark.long
def test_the_status_and_the_metrics_say_what_the_records_say(ioc: IocProcess, page: Page, ports: list[int]) -> None:
    send_frames(ports[:2], FRAMES, "--rate", str(RATE), "--loss", str(LOSS))
    for name in ("M00", "M01"):
        worker = f"udp.{name}"
        counted = until(
            lambda w=worker: ioc.ask(w, "status"),
            lambda s: (
                s["frames"]["delivered"] == FRAMES and not s["disk"]["queued"] and not imbalance(ReceiverStatus, s)
            ),
        )
        until(lambda w=worker: page.snapshot(w), lambda s, c=counted: s["packets"] == c["packets"])
        snapshot, metrics = page.snapshot(worker), page.metrics()
        assert snapshot["packets"]["lost"] > 0
        for counter, record in COUNTERS.items():
            number = reading(counted, counter)
            assert reading(snapshot, counter) == number
            assert ioc.until(f"{name}:{record}", number) == number
            ending = "" if counter == "pebble.high_water" else "_total"
            assert metrics[f"pebbledaq_{counter.replace('.', '_')}{ending}", worker] == number
        assert metrics["pebbledaq_up", worker] == 1
        assert metrics["drp_pebble_in_use_max", worker] == counted["pebble"]["count"]
    status = page.status()
    lost = sum(page.snapshot(f"udp.{name}")["packets"]["lost"] for name in ("M00", "M01"))
    expected = next(line for line in status["balance"] if line["title"] == "Packets expected")
    assert {part["name"]: part["count"] for part in expected["parts"]}["lost"] == lost
    assert expected["open"] == 0
    told = [event for event in status["events"] if event["text"].endswith("packets lost")]
    assert {event["source"] for event in told} == {"udp.M00", "udp.M01"}
    assert sum(int(event["text"].split()[0].replace(",", "")) for event in told) == lost
    assert len(status["history"]) > 2


@pytest.mark.usefixtures("data")
class TestWhileDataComes:
    def test_images_are_exact_and_new(self, ioc: IocProcess, page: Page) -> None:
        images = page.images(8)
        images = [image for image in images if int(image[0]["pulse_id"]) >= FIRST]
        assert len(images) >= 7  # the first may be one of those before
        pulses = [int(head["pulse_id"]) for head, _ in images]
        assert pulses == sorted(set(pulses))
        for head, pixels in images:
            assert (head["bits"], head["exact"], head["factor"], head["full"]) == (16, True, 2, [1024, 1024])
            assert (pixels == thinned(int(head["pulse_id"]))).all()
            assert abs(head["time_ms"] / 1000 - time.time()) < 60
        assert ioc.until("Web:Sent_RBV", lambda n: n >= 8)

    def test_eight_bits_are_those_values_in_steps(self, page: Page) -> None:
        (head, pixels), *_ = page.images(1, bits=8)
        wanted = thinned(int(head["pulse_id"])).astype(float)
        assert (head["bits"], head["exact"]) == (8, False)
        low, high = head["offset"], head["offset"] + 255 * head["scale"]
        assert abs(head["offset"] + head["scale"] * pixels - wanted.clip(low, high)).max() <= 0.51 * head["scale"]

    def test_the_picture_is_the_newest_image(self, page: Page) -> None:
        picture = imagecodecs.jpeg8_decode(page.get("preview.jpg"))
        assert picture.shape == (512, 512)
        assert picture.std() > 10

    @pytest.mark.long
    def test_a_browser_that_stops_reading_loses_only_its_own(self, ioc: IocProcess, page: Page) -> None:
        skipped, first = ioc.value("Web:Skipped_RBV"), ioc.value("M00:PulseId_RBV")
        with socket.create_connection(page.host.split(":")) as stuck:
            key = base64.b64encode(os.urandom(16)).decode()
            stuck.sendall(
                f"GET /images HTTP/1.1\r\nHost: {page.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            ioc.until("Web:Clients_RBV", 1)
            images = page.images(70)  # more than its buffers hold
            pulses = [int(head["pulse_id"]) for head, _ in images]
            assert np.diff(pulses).mean() < 3.5  # every other pulse is due
            ioc.until("Web:Clients_RBV", 1)
        ioc.until("Web:Clients_RBV", 0)
        missed = ioc.until("Web:Skipped_RBV", lambda n: n > skipped + 20) - skipped
        came = (ioc.value("M00:PulseId_RBV") - first) / 2
        assert missed < came + 5  # those of one browser; records come a little later

    def test_a_page_of_another_site_gets_no_images(self, page: Page) -> None:
        with pytest.raises(websockets.exceptions.InvalidStatus):
            connect(f"ws://{page.host}/images", origin="http://elsewhere.example")  # type: ignore[arg-type]

    def test_twenty_browsers_get_images_in_order_and_nothing_is_lost(self, ioc: IocProcess, page: Page) -> None:
        before = [ioc.value(f"{name}:PacketsLost_RBV") for name in ("M00", "M01")]

        async def watch() -> list[int]:
            address = f"ws://{page.host}/images"
            async with websockets.connect(address, max_size=None, compression=None) as browser:
                heads = [decode_web(await browser.recv())[0] for _ in range(30)]  # type: ignore[arg-type]
            return [int(head["pulse_id"]) for head in heads]

        async def watch_all() -> list[list[int]]:
            return await asyncio.gather(*(watch() for _ in range(20)))

        for pulses in asyncio.run(watch_all()):
            assert pulses == sorted(set(pulses))
        assert [ioc.value(f"{name}:PacketsLost_RBV") for name in ("M00", "M01")] == before

    def test_the_page_looks_as_it_should_in_chromium(self, ioc: IocProcess, page: Page) -> None:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if chromium is None:
            pytest.skip("no chromium on this host: apt-get install chromium")
        playwright = pytest.importorskip("playwright.sync_api")
        problems: list[str] = []
        with playwright.sync_playwright() as play:
            browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1440, "height": 1000})
            tab.on("pageerror", lambda error: problems.append(str(error)))
            tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            tab.goto(f"http://{page.host}/")
            until(lambda: tab.locator(".module.good").count(), lambda n: n == 2)
            tab.get_by_text("uint16, every 2nd pixel").wait_for()
            assert tab.text_content("#prefix") == ioc.prefix
            assert tab.text_content("#of") == "of 2"
            assert tab.text_content("#verdict b") == "Good"
            tab.hover("#image", position={"x": 200, "y": 200})
            until(lambda: tab.text_content("#readout"), lambda text: re.search(r"M00  value \d+$", text))
            colours = tab.evaluate(
                "(() => { const c = document.getElementById('image'); const n = new Set(); "
                "const d = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer); "
                "for (let i = 0; i < d.length; i += 97) n.add(d[i]); return n.size; })()"
            )
            assert colours > 20
            lost = sum(ioc.value(f"{name}:PacketsLost_RBV") for name in ("M00", "M01"))
            balance = tab.text_content("#balance")
            assert f"lost {lost:,}" in balance if lost else "lost" not in balance
            assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            browser.close()
        assert problems == []


def test_the_page_goes_on_without_the_ioc(ioc: IocProcess, page: Page) -> None:
    """Last: it ends the IOC as a crash does, and starts another that adopts the workers."""
    pid = ioc.value("Web:Pid_RBV")
    command = Path(f"/proc/{ioc.pid}/cmdline").read_bytes().decode().split("\0")[1:-1]
    ioc.close_clients()
    ioc.process.kill()
    ioc.wait()
    assert page.status()["workers"]["udp.M00"]["responding"]
    assert page.snapshot("web")["pid"] == pid
    Process.__init__(ioc, *command, environment=ioc.environment)
    ioc.ready()
    assert ioc.until("Web:Adopted_RBV", "Yes")
    assert ioc.value("Web:Pid_RBV") == pid


@pytest.mark.long
def test_each_of_several_detectors_can_be_asked_for(tmp_path: Path, runtime_dir: Path) -> None:
    assert runtime_dir.is_dir()
    (port,) = free_ports(1)
    config = write_config(tmp_path, f"[web]\nport = {port}\n")
    with WorkerProcess(prefix_of(config), "web", "web", str(config)).ready() as worker:
        page = Page(port)
        status = page.status()
        assert status["detectors"] == ["DET", "CAM"]
        assert status["verdict"] == {"level": "off", "text": "udp.M00, udp.M01, pva.CAM do not run"}
        with connect(f"ws://{page.host}/images?detector=CAM"):
            waiting = until(page.status, lambda found: found["waiting"]["CAM"])["waiting"]
            assert waiting["CAM"].endswith(
                "pva.CAM: no shared memory to map: No such file or directory; is its worker running?"
            )
            assert waiting["DET"] == ""
            worker.until(lambda found: found["browsers"]["clients"] == 1)
        worker.until(lambda found: found["browsers"]["clients"] == 0)
        with pytest.raises(websockets.exceptions.InvalidStatus):
            connect(f"ws://{page.host}/images?detector=NONE")
        assert worker.end() == 0
