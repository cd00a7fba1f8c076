"""The image assembler behind real workers: packets or PVA images in, whole images out."""

import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import zmq

from detectors.runtime_names import RuntimeNames
from detectors.wire.array10 import decode_image
from detectors.workers.commands import request
from sim.pattern import frame_pattern
from tests.support.epics_env import epics_variables
from tests.support.ioc_process import leftovers
from tests.support.ports import free_ports
from tests.support.process import Process
from tests.support.senders import PATIENT, send_frames
from tests.support.two_modules import pattern_image
from tests.support.waiting import until

pytestmark = [pytest.mark.alone, pytest.mark.long, pytest.mark.usefixtures("runtime_dir")]

PULSES = 15
SHAPE = (512, 1024)
CAMERA_SHAPE = (48, 64)


class Workers:
    """Worker and simulator processes, ended in the order in which they were started."""

    def __init__(self, stack: ExitStack, environment: dict[str, str]) -> None:
        self._stack = stack
        self._environment = environment

    def start(self, *words: str) -> Process:
        process = Process("-m", "ioc", *words, environment=self._environment)
        self._stack.callback(process.end)
        return process.ready()


@pytest.fixture
def workers(stack: ExitStack) -> Workers:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("EPICS_")}
    return Workers(stack, inherited | epics_variables())


def consumer(stack: ExitStack, runtime: RuntimeNames, address: str) -> zmq.Socket[bytes]:
    """A consumer of the full stream, once the assembler has it."""
    context = stack.enter_context(zmq.Context())
    socket = stack.enter_context(context.socket(zmq.PULL))
    socket.linger = 0
    socket.connect(address)
    until(lambda: status(runtime, "stream")["full"]["subscribers"], lambda n: n == 1)
    return socket


def status(runtime: RuntimeNames, worker: str) -> dict:
    return request(runtime.command(worker), "status", timeout_s=20)


def take(socket: zmq.Socket[bytes]) -> tuple:
    assert socket.poll(15_000), "no image came"
    return decode_image(socket.recv_multipart())


def test_two_receivers_and_their_images(tmp_path: Path, stack: ExitStack, workers: Workers) -> None:
    prefix = f"S{os.getpid()}:"
    first, second, out = free_ports(3)
    path = tmp_path / "udp.toml"
    path.write_text(
        f'[detector]\nname = "JF"\nprefix = "{prefix}"\n[dma]\ncfgRxCount = 40\n'
        f'[[udp]]\nname = "M00"\n{PATIENT}expect_module_id = 0\nport = {first}\naddress = "127.0.0.1"\n'
        f'[[udp]]\nname = "M01"\n{PATIENT}expect_module_id = 1\nport = {second}\naddress = "127.0.0.1"\n'
        f'[stream]\nfull = "tcp://127.0.0.1:{out}"\n'
    )
    runtime = RuntimeNames(prefix)
    with stack:
        for name in ("M00", "M01"):
            workers.start("receive", str(path), name)
        workers.start("stream", str(path))
        socket = consumer(stack, runtime, f"tcp://127.0.0.1:{out}")
        send_frames((first, second), PULSES, "--rate", "20")
        for pulse_id in range(1, PULSES + 1):
            header, pixels = take(socket)
            assert (header.head.pulse_id, header.head.frame_index, header.head.is_good_frame) == (
                pulse_id,
                pulse_id,
                True,
            )
            assert header.detector_name == "JF"
            expected = pattern_image(pulse_id, shape=SHAPE)
            np.testing.assert_array_equal(pixels, expected)
        images = status(runtime, "stream")["images"]
        assert (images["assembled"], images["good"], images["overwritten"]) == (PULSES, PULSES, 0)
    assert leftovers(prefix) == []


def test_a_camera_and_its_images(tmp_path: Path, stack: ExitStack, workers: Workers) -> None:
    prefix = f"C{os.getpid()}:"
    (out,) = free_ports(1)
    path = tmp_path / "pva.toml"
    path.write_text(
        f'[detector]\nname = "DET"\nprefix = "{prefix}"\n[dma]\ncfgRxCount = 16\ncfgSize = "64 KiB"\n'
        f'[[pva]]\nname = "CAM"\npv = "{prefix}image"\n[stream]\nfull = "tcp://127.0.0.1:{out}"\n'
    )
    runtime = RuntimeNames(prefix)
    rows, cols = CAMERA_SHAPE
    with stack:
        workers.start(
            "sim",
            "pva",
            f"{prefix}image",
            "--shape",
            f"{rows}x{cols}",
            "--dtype",
            "uint16",
            "--rate",
            "10",
            "--count-afresh",
        )
        workers.start("monitor", str(path), "CAM")
        workers.start("stream", str(path))
        socket = consumer(stack, runtime, f"tcp://127.0.0.1:{out}")
        before = 0
        for _ in range(10):
            header, pixels = take(socket)
            assert header.head.pulse_id > before
            before = header.head.pulse_id
            assert (header.detector_name, header.head.is_good_frame) == ("DET-CAM", True)
            np.testing.assert_array_equal(pixels, frame_pattern(header.head.pulse_id, 0, CAMERA_SHAPE, "uint16"))
        assert status(runtime, "stream")["shape"] == f"{rows} x {cols}"
    assert leftovers(prefix) == []
