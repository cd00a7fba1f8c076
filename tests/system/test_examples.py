"""The example configurations start and stop as they stand, and run without an alarm."""

import json
import re
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from detectors.buffer.reader import BufferReader
from detectors.config import Config, load_config
from detectors.live_streams import ImageStream
from detectors.verify import verify
from detectors.worker_names import workers
from ioc.demo.children import Child, clean_environment
from sim.pattern import frame_pattern
from tests.support.examples import EXAMPLES, write_example
from tests.support.ioc_process import IocProcess
from tests.support.process import run
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("runtime_dir")


@pytest.mark.parametrize("name", ["jungfrau", "pva-small"])
def test_an_example_runs_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    path = write_example(name, tmp_path)
    config = load_config(path)
    with IocProcess(config.detector.prefix, "-m", "ioc", "run", str(path)) as ioc:
        ioc.until("WorkersRunning_RBV", len(workers(config)))
        for source in config.udp:
            ioc.until(f"{source.name}:State_RBV", "Idle")
            assert ioc.value(f"{source.name}:RunState_RBV") == "Enabled"
            assert ioc.value(f"{source.name}:Dma:Total_RBV") == 64 << 20
        for source in config.pva:
            ioc.until(f"{source.name}:State_RBV", "Connecting")  # there is no camera
        ioc.stop_clean()


def test_the_large_camera_is_planned_as_it_stands() -> None:
    done = run("sizes", "--json", str(EXAMPLES / "rix-axis.toml"))
    plan = json.loads(done.stdout)["AXIS"]
    assert (plan["dma"]["count"], plan["dma"]["size_bytes"]) == (80, 1 << 20)
    assert (plan["pebble"]["count"], plan["pebble"]["size_bytes"]) == (128, 84 << 20)
    assert (plan["transition"]["count"], plan["transition"]["size_bytes"]) == (128, 74 << 20)


FRAMES = 60
RATE_HZ = 20


def start_ports(name: str, config: Config, stack: ExitStack) -> list[Child]:
    """Start the simulators that an example names in its comments, on the ports of ``config``."""
    as_it_stands = load_config(EXAMPLES / f"{name}.toml")
    ports = {str(a.port): str(b.port) for a, b in zip(as_it_stands.udp, config.udp, strict=True)}
    lines = re.findall(r"^#   pebbledaq (sim udp) (\d+) (.*)$", (EXAMPLES / f"{name}.toml").read_text(), re.MULTILINE)
    assert sorted(port for _, port, _ in lines) == sorted(ports)
    more = ["--rate", str(RATE_HZ), "--frames", str(FRAMES), "--epoch-ns", "-"]
    started = []
    for command, port, options in lines:
        words = [*command.split(), ports[port], *options.split(), *more]
        started.append(Child(f"port {port}", words, clean_environment()))
        stack.callback(started[-1].end)
    return started


@pytest.mark.long
@pytest.mark.parametrize("name", ["eiger-500k", "jungfrau-2if"])
def test_a_stock_detector_runs_without_alarm_and_makes_one_image(name: str, tmp_path: Path) -> None:
    path = write_example(name, tmp_path)
    config = load_config(path)
    mosaic = config.mosaic()
    assert mosaic is not None
    assert mosaic.shape == (514, 1030)
    assert config.stream is not None
    assert config.disk is not None

    def expected(pulse_id: int) -> np.ndarray:
        image = np.zeros(mosaic.shape, mosaic.pixel_type)
        for m, module in enumerate(config.udp):
            mosaic.put(image, m, frame_pattern(pulse_id, m, module.geometry.shape, module.geometry.dtype))
        return image

    with ExitStack() as stack:
        ioc = stack.enter_context(IocProcess(config.detector.prefix, "-m", "ioc", "run", str(path)))
        ioc.until("WorkersRunning_RBV", len(workers(config)))
        for source in config.udp:
            ioc.until(f"{source.name}:State_RBV", "Idle")
        images = stack.enter_context(ImageStream(config.stream.full, timeout_s=20))
        until(lambda: ioc.value("Stream:Full:Subscribers_RBV"), lambda n: n == 1)
        ports = start_ports(name, config, stack)
        for port in ports:
            port.wait_ready(time.monotonic() + 30)
        epoch_ns = str(time.time_ns() + 10**9)
        for port in ports:
            port.write_line(epoch_ns)
        for n in range(1, FRAMES + 1):
            header, data = next(images)
            assert data is not None
            assert (header.head.pulse_id, header.head.frame_index, header.head.is_good_frame) == (n, n, True)
            np.testing.assert_array_equal(data, expected(n))
            if n == FRAMES // 2:
                assert (ioc.value("Alarm_RBV"), ioc.value("Health_RBV")) == ("None", "OK")
        for source in config.udp:
            ioc.until(f"{source.name}:Disk:Written_RBV", FRAMES)
            assert ioc.value(f"{source.name}:FramesComplete_RBV") == FRAMES
        assert ioc.value("Alarm_RBV") == "None"
        assert ioc.stop() == 0
    with BufferReader(config.disk.folder / config.detector.name) as reader:
        assert list(verify(reader)) == []
        stored = list(reader.images(1, FRAMES, mosaic=reader.mosaic()))
        assert len(stored) == FRAMES
        for image in stored:
            np.testing.assert_array_equal(image.data, expected(image.pulse_id))
            assert [frame and frame.head.module_id for frame in image.frames] == [
                [source.name for source in config.udp].index(module) for module in reader.modules
            ]
