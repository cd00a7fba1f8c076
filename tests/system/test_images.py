"""The worker that shows images as PVs, beside modules that this test plays, read by p4p and by pvapy."""

import json
import os
import signal
import socket
import time
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from p4p.client.thread import Context

from detectors.config import parse_config
from detectors.image_head import ImageHead
from detectors.sources.codecs import decode
from detectors.stats import ImagesStatus
from detectors.thinning import eight_bits, thinned
from detectors.wire.array10 import NO_DATA, ImageHeader, encode_header
from detectors.wire.ntndarray import array_head
from sim.pattern import frame_pattern
from tests.support.balance import imbalance
from tests.support.hosts import on_hosts
from tests.support.installed import needs
from tests.support.ports import free_ports
from tests.support.process import Process, WorkerProcess
from tests.support.two_modules import COLS, ROWS, TWO_MODULES, pattern_image, play_modules
from tests.support.waiting import until

CONFIG = (
    TWO_MODULES
    + """
[stream]
pulse = "ipc://{folder}/pulse"
missing_after_s = 0.3
[images]
{more}
"""
)

SLOW = """
import time
from p4p.client.thread import Context

def show(value):
    print(next((a.value for a in value.attribute if a.name == "PulseId"), "none"), flush=True)

with Context("pva", conf={conf!r}, useenv=False, nt=False) as client:
    subscription = client.monitor({name!r}, show)
    time.sleep(60)
"""

IDLE_MS = 4.0
"""Processor time a second of a worker without clients, ms, on a busy machine; it takes 1.5 on a quiet one."""


class Bench(WorkerProcess):
    """A running worker of images, two modules and clients."""

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        variables: dict[str, str],
        more: str = "",
        *,
        text: str = CONFIG,
    ) -> None:
        prefix = f"T{os.getpid()}:"
        text = text.format(prefix=prefix, folder=folder, more=more)
        parse_config(text)
        path = folder / "config.toml"
        path.write_text(text)
        self.prefix, self.variables, self.stack = prefix, variables, stack
        super().__init__(prefix, "images", "images", str(path))
        stack.enter_context(self.ready())
        self.context = zmq.Context()
        stack.callback(self.context.destroy, linger=0)
        self.modules = play_modules(stack, self.runtime, self.context)

    def client(self) -> Context:
        context = Context("pva", conf=self.variables, useenv=False, nt=False)
        self.stack.callback(context.close)
        return context

    def send(self, pulse_id: int) -> None:
        for module in self.modules:
            module.send(pulse_id, notify=False)


@pytest.fixture
def bench(tmp_path: Path, own_epics: dict[str, str], stack: ExitStack) -> Bench:
    return Bench(tmp_path, stack, own_epics)


def pixels(value: Any) -> np.ndarray:
    """The image in an NTNDArray, as any reader puts it together from the fields."""
    meta = {
        "codec": {"name": value.codec.name, "parameters": value.codec.parameters},
        "uncompressedSize": value.uncompressedSize,
        "dimension": [{"size": d.size} for d in value.dimension],
    }
    head = array_head(meta, value.value.dtype, value.value.size)
    out = np.empty(head.nbytes, np.uint8)
    decode(head.codec, value.value.view(np.uint8), out, head)
    return out.view(head.dtype).reshape(head.shape)


def attributes(value: Any) -> dict[str, Any]:
    return {element.name: element.value for element in value.attribute}


def test_a_client_reads_exactly_the_image_that_the_modules_have_with_all_that_is_known_of_it(bench):
    bench.send(1000)
    with Context("pva", conf=bench.variables, useenv=False, nt=False) as client:
        value = client.get(f"{bench.prefix}Pva1:Image", timeout=20)
    assert value.getID() == "epics:nt/NTNDArray:1.0"
    assert [(d.size, d.fullSize, d.binning) for d in value.dimension] == [(COLS, COLS, 1), (2 * ROWS, 2 * ROWS, 1)]
    assert (pixels(value) == pattern_image(1000)).all()
    assert value.uniqueId == 1005
    known = attributes(value)
    assert {name: known[name] for name in ("ColorMode", "PulseId", "FrameIndex", "IsGood")} == {
        "ColorMode": 0,
        "PulseId": 1000,
        "FrameIndex": 1005,
        "IsGood": 1,
    }
    assert (known["PacketsMissing"], known["ModulesMissing"], known["Damage"]) == (0, 0, 0)
    assert abs(value.timeStamp.secondsPastEpoch - time.time()) < 10
    snapshot = bench.until(lambda s: s["state"] == "Idle")
    assert snapshot["images"]["assembled"] == 1
    assert not imbalance(ImagesStatus, snapshot)


def test_a_client_without_any_data_gets_an_empty_array_and_then_the_first_image(bench):
    got: list[Any] = []
    subscription = bench.client().monitor(f"{bench.prefix}Pva1:Preview", got.append)
    until(lambda: got)
    assert pixels(got[0]).size == 0
    bench.send(7)
    until(lambda: len(got) > 1)
    assert (pixels(got[-1]) == pattern_image(7)).all()
    subscription.close()


def test_an_image_without_a_module_is_shown_with_zeros_in_its_place_after_a_while(bench):
    bench.send(1)
    got: list[Any] = []
    subscription = bench.client().monitor(f"{bench.prefix}Pva1:Preview", got.append)
    until(lambda: got)
    began = time.monotonic()
    bench.modules[1].send(2, notify=False)
    until(lambda: attributes(got[-1])["PulseId"] == 2)
    assert time.monotonic() - began > 0.25
    known = attributes(got[-1])
    assert (known["IsGood"], known["ModulesMissing"], known["PacketsMissing"]) == (0, 1, 4)
    image = pixels(got[-1])
    assert (image[:ROWS] == 0).all()
    assert (image[ROWS:] == frame_pattern(2, 1, (ROWS, COLS), "uint16")).all()
    subscription.close()


@pytest.mark.parametrize("codec", ["lz4", "bslz4", "blosc"])
def test_a_compressed_image_decodes_to_the_same(tmp_path, own_epics, codec, stack):
    bench = Bench(tmp_path, stack, own_epics, f'codec = "{codec}"')
    bench.send(50)
    value = bench.client().get(f"{bench.prefix}Pva1:Image", timeout=20)
    assert (value.codec.name, value.codec.parameters) == (codec, 6)
    assert value.compressedSize == value.value.nbytes
    assert value.uncompressedSize == 2 * ROWS * COLS * 2
    assert (pixels(value) == pattern_image(50)).all()


def test_a_preview_is_below_its_size_and_its_pixels_are_the_images(tmp_path, own_epics, stack):
    bench = Bench(tmp_path, stack, own_epics, "preview_pixels = 2000")
    bench.send(3)
    value = bench.client().get(f"{bench.prefix}Pva1:Preview", timeout=20)
    assert [(d.size, d.fullSize, d.binning) for d in value.dimension] == [(43, 128, 3), (43, 128, 3)]
    assert (pixels(value) == pattern_image(3)[1::3, 1::3]).all()


def test_a_jpeg_preview_shows_the_range_of_values(tmp_path, own_epics, stack):
    bench = Bench(tmp_path, stack, own_epics, 'preview_codec = "jpeg"')
    bench.send(3)
    value = bench.client().get(f"{bench.prefix}Pva1:Preview", timeout=20)
    assert (value.codec.name, value.codec.parameters) == ("jpeg", 5)
    shown, image = pixels(value), eight_bits(pattern_image(3))
    assert shown.shape == image.shape
    assert np.corrcoef(shown.ravel(), image.ravel())[0, 1] > 0.99


PYDM = """
import json, os, sys, zlib
import numpy as np
from pydm import PyDMApplication
from pydm.widgets.image import PyDMImageView
from qtpy.QtCore import QTimer

app = PyDMApplication(use_main_window=False, command_line_args=[])
view = PyDMImageView(image_channel=f"pva://{sys.argv[1]}")
view.readingOrder = view.ReadingOrder.Clike
view.dimensionOrder = view.DimensionOrder.WidthFirst
view.normalizeData = True
view.resize(400, 400)
view.show()
print("open", flush=True)

def look():
    image = view.getImageItem().image
    if image is not None and image.size:
        picture = view.grab().toImage()
        bits = picture.constBits()
        bits.setsize(picture.bytesPerLine() * picture.height())
        raw = bytes(bits)
        found = {
            "image": zlib.crc32(np.ascontiguousarray(image).tobytes()),
            "picture": zlib.crc32(raw),
            "shades": len(set(raw)),
        }
        print(json.dumps(found), flush=True)

timer = QTimer()
timer.timeout.connect(look)
timer.start(100)
app.exec_()
"""


def test_pydm_shows_the_preview_as_it_changes(bench):
    needs("pydm")
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYDM_EPICS_LIB": "pyepics"}
    with Process("-c", PYDM, f"{bench.prefix}Pva1:Preview", environment=environment) as screen:
        screen.wait_for("^open")
        pictures: set[int] = set()
        for pulse in range(1, 5):
            bench.send(pulse)
            wanted = zlib.crc32(pattern_image(pulse).tobytes())

            def fresh() -> list[dict[str, Any]]:
                found = [json.loads(line) for line in screen.lines if line.startswith("{")]
                other = [f for f in found if f["image"] == wanted and f["picture"] not in pictures]  # noqa: B023
                return [f for f in other if f["shades"] > 50]  # it is not blank

            pictures.add(until(fresh)[-1]["picture"])


CAMERA = """
[detector]
name = "CAM"
prefix = "{prefix}"
[[pva]]
name = "C1"
pv = "{pv}"
[images]
preview_pixels = 2000
"""


@pytest.mark.parametrize(
    ("shape", "changed", "dtype", "mode"),
    [
        pytest.param((60, 80), (30, 50), "float32", 0, marks=pytest.mark.long),
        ((60, 80, 3), (40, 50, 3), "uint8", 2),
        pytest.param((3, 60, 80), (3, 40, 50), "uint16", 4, marks=pytest.mark.long),
    ],
)
def test_a_cameras_image_has_its_shape_and_colours_also_after_it_changed(  # noqa: PLR0917
    tmp_path, own_epics, shape, changed, dtype, mode
):
    prefix, pv = f"T{os.getpid()}:", f"CAM{os.getpid()}:IMAGE"
    path = tmp_path / "config.toml"
    path.write_text(CAMERA.format(prefix=prefix, pv=pv))
    size = "x".join(map(str, shape))
    camera = ("-m", "ioc", "sim", "pva", pv, "--shape", size, "--dtype", dtype, "--rate", "20", "--frames", "100000")
    restart = ("--restart-after", "60", "--restart-shape", "x".join(map(str, changed)))
    with (
        Process(*camera, *restart) as server,
        WorkerProcess(prefix, "pva.C1", "monitor", str(path)) as monitor,
        WorkerProcess(prefix, "images", "images", str(path)) as images,
        Context("pva", conf=own_epics, useenv=False, nt=False) as client,
    ):
        server.wait_for(".")
        monitor.ready()
        images.ready()
        got: list[Any] = []
        subscription = client.monitor(f"{prefix}Pva1:Image", got.append)
        until(lambda: got and got[-1].dimension)
        value = got[-1]
        known = attributes(value)
        wanted = frame_pattern(known["PulseId"], 0, shape, dtype)
        assert ([d.size for d in value.dimension], known["ColorMode"]) == (list(reversed(shape)), mode)
        assert (pixels(value) == wanted).all()
        assert value.uniqueId == known["PulseId"] == known["FrameIndex"]
        small = client.get(f"{prefix}Pva1:Preview", timeout=20)
        image = frame_pattern(attributes(small)["PulseId"], 0, shape, dtype)
        assert (pixels(small) == thinned(image, 2)).all()
        until(lambda: [d.size for d in got[-1].dimension] == list(reversed(changed)))
        later = got[-1]
        assert (pixels(later) == frame_pattern(later.uniqueId, 0, changed, dtype)).all()
        subscription.close()


def test_images_of_modules_elsewhere_come_from_the_stream(tmp_path, own_epics, stack):
    (there,) = free_ports(1)
    text, _ = on_hosts(CONFIG, tmp_path, {"M00": "h2", "M01": "h3", "stream": "h2"})
    text = text.replace("[stream]\n", f'[stream]\nreduced = "tcp://127.0.0.2:{there}"\n')
    bench = Bench(tmp_path, stack, own_epics, text=text)
    stream = stack.enter_context(bench.context.socket(zmq.XPUB))
    stream.bind(f"tcp://127.0.0.2:{there}")

    def send(pulse: int, *, with_data: bool, present: int = 0b11) -> None:
        head = ImageHead(pulse, pulse + 5, 1, present == 0b11, present)
        header = ImageHeader(head, "JF", "uint16", (2 * ROWS, COLS))
        data = pattern_image(pulse).tobytes() if with_data else NO_DATA
        stream.send_multipart([encode_header(header, with_data=with_data), data])

    def came() -> bytes:
        assert stream.poll(20_000)
        return stream.recv()

    got: list[Any] = []
    client = bench.client()
    subscription = client.monitor(f"{bench.prefix}Pva1:Image", got.append)
    assert came() == b"\1"
    for pulse in range(10, 13):
        send(pulse, with_data=pulse == 11, present=0b01)
    until(lambda: got and attributes(got[-1]).get("PulseId") == 11)
    assert (pixels(got[-1]) == pattern_image(11)).all()
    assert (attributes(got[-1])["ModulesMissing"], attributes(got[-1])["IsGood"]) == (1, 0)
    assert not imbalance(ImagesStatus, bench.status())
    subscription.close()
    client.close()
    assert came() == b"\0"  # no client is connected any more
    assert bench.ask("acquire", images=3, on_loss="fill") == 1
    assert came() == b"\1"
    for pulse in range(100, 104):  # only their heads are counted
        send(pulse, with_data=False)
    found = until(lambda: acquisition(bench), lambda a: not a["open"])
    assert (found["taken"], found["good"]) == (3, 3)


def acquisition(bench: Bench) -> dict[str, Any]:
    return bench.status()["acquisition"]


def test_an_acquisition_ends_after_its_images_with_missing_ones_filled(bench):
    bench.send(99)  # of an earlier run
    assert bench.ask("acquire", images=10, on_loss="fill") == 1
    assert acquisition(bench)["open"]
    for pulse in (100, 101, 102, 105, 106):
        bench.send(pulse)
    until(lambda: acquisition(bench)["taken"] == 7)
    for pulse in range(107, 115):
        bench.send(pulse)
    found = until(lambda: acquisition(bench), lambda a: not a["open"])
    assert {name: found[name] for name in ("taken", "good", "damaged", "filled", "lost", "error")} == {
        "taken": 10,
        "good": 8,
        "damaged": 0,
        "filled": 2,
        "lost": 0,
        "error": "",
    }


def test_an_acquisition_that_must_not_lose_any_fails_at_the_first_missing_image(bench):
    bench.ask("acquire", images=10, on_loss="fail")
    bench.send(1)
    bench.send(3)
    found = until(lambda: acquisition(bench), lambda a: not a["open"])
    assert found["error"] == "no image of pulse 2"
    bench.ask("release")
    assert bench.ask("acquire") == 2
    assert acquisition(bench)["open"]


def test_modules_are_not_subscribed_to(bench):
    """Receivers send notifications to subscribers: they must not have one here."""
    bench.ask("acquire", images=2, on_loss="fill")
    got: list[Any] = []
    subscription = bench.client().monitor(f"{bench.prefix}Pva1:Preview", got.append)
    bench.send(5)
    until(lambda: got and attributes(got[-1]).get("PulseId") == 5)
    assert not any(module.notify.poll(100) for module in bench.modules)
    subscription.close()


def test_a_client_that_does_not_read_loses_only_its_own_images(bench):
    bench.send(1)
    fast: list[int] = []
    subscription = bench.client().monitor(
        f"{bench.prefix}Pva1:Preview", lambda value: fast.append(attributes(value)["PulseId"])
    )
    until(lambda: fast == [1])
    with Process("-c", SLOW.format(conf=bench.variables, name=f"{bench.prefix}Pva1:Preview")) as slow:
        slow.wait_for("^1$")
        os.kill(slow.pid, signal.SIGSTOP)
        for pulse in range(2, 22):
            bench.send(pulse)
            until(lambda: fast[-1] == pulse)  # noqa: B023
        os.kill(slow.pid, signal.SIGCONT)
        slow.wait_for("^21$")
    assert fast == list(range(1, 22))
    subscription.close()


def test_images_are_served_on_the_interfaces_of_the_configuration_only(tmp_path, own_epics, stack):
    bench = Bench(tmp_path, stack, own_epics, '[ioc]\ninterfaces = ["127.0.0.2"]')
    port = bench.status()["port"]
    with socket.create_connection(("127.0.0.2", port), timeout=20):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=20)


@pytest.mark.long
def test_a_worker_without_clients_is_idle(bench):
    bench.until(lambda s: s["state"] == "Idle")
    time.sleep(1)
    before = processor_ms(bench.pid)
    time.sleep(5)
    assert (processor_ms(bench.pid) - before) / 5 < IDLE_MS


def processor_ms(pid: int) -> float:
    """Processor time of all threads of a process, ms."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e6
