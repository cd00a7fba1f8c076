"""The snippets of the page for scripts run, between modules that this test plays."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from detectors import api
from detectors.image_head import ImageHead
from detectors.runtime import Runtime
from detectors.wire.array10 import ImageHeader, encode_header
from tests.support.fake_module import FakeModule
from tests.unit.buffer.make import RawBuffer
from tests.unit.test_documents import ROOT, blocks

SNIPPETS = blocks((ROOT / "docs" / "how-to" / "python.md").read_text(), "python")
SHAPE = (512, 1024)
CONFIG = """
[detector]
name = "JF01"
prefix = "{prefix}"
[dma]
cfgRxCount = 8
[[udp]]
name = "M00"
expect_module_id = 0
port = 50020
[[udp]]
name = "M01"
expect_module_id = 1
port = 50021
"""


@pytest.fixture
def scene(tmp_path: Path, short_runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The page's folder, configuration and streams; yields the page's addresses with the real ones for them."""
    raw = RawBuffer(tmp_path / "data" / "JF01", shape=SHAPE)
    for pulse_id in (12345000, 12345002):
        for module in raw.modules:
            raw.put(module, pulse_id)
    prefix = f"A{os.getpid()}:"
    (tmp_path / "jungfrau.toml").write_text(CONFIG.format(prefix=prefix))
    monkeypatch.chdir(tmp_path)
    runtime = Runtime(prefix)
    images = f"ipc://{short_runtime_dir}/full"
    stop = threading.Event()
    thread = threading.Thread(target=play, args=(runtime, images, stop))
    thread.start()
    yield {"tcp://127.0.0.1:9100": runtime.frames("udp.M00"), "tcp://127.0.0.1:9200": images}
    stop.set()
    thread.join()


def play(runtime: Runtime, images: str, stop: threading.Event) -> None:
    """Finish 50 frames a second in both modules, and push their images."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.bind(images)
        push.linger = 0
        modules = [FakeModule(runtime, m, context, SHAPE, 128) for m in (0, 1)]
        pulse_id = 100
        while not stop.wait(0.02):
            pulse_id += 1
            for module in modules:
                module.send(pulse_id)
                module.publish(pulse_id)
            header = ImageHeader(ImageHead(pulse_id, is_good_frame=True), "JF01", "uint16", SHAPE)
            if push.poll(0, zmq.POLLOUT):
                push.send_multipart([encode_header(header), modules[0].pixels(pulse_id)])
        for module in modules:
            module.close()


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs(number: int, scene: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code = SNIPPETS[number]
    for shown, real in scene.items():
        code = code.replace(shown, real)
    names: dict[str, Any] = {}
    exec(compile(code, f"docs/how-to/python.md, snippet {number}", "exec"), names)  # noqa: S102
    printed = capsys.readouterr().out
    assert printed or "print" not in code or "verify" in code
    assert "nan" not in printed
    assert names.get("good", 5) == 5


def test_what_is_offered_is_there_and_shown() -> None:
    assert sorted(api.__all__) == api.__all__
    assert all(hasattr(api, name) for name in api.__all__)
    shown = "".join(SNIPPETS)
    for name in (
        "BufferReader",
        "LiveFrames",
        "LiveImages",
        "ModuleStream",
        "ImageStream",
        "Pool",
        "BufferPool",
        "load_config",
    ):
        assert name in shown
    assert (Path(api.__file__).parent / "py.typed").exists()
