"""A detector without a timing system: two ports of one half module, no bunch ids, and a count that starts afresh."""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import zmq

from detectors.buffer.reader import BufferReader
from detectors.geometry import GEOMETRIES
from detectors.runtime_names import RuntimeNames
from detectors.wire.array10 import decode_image
from sim.clock import Schedule
from sim.pattern import frame_pattern
from sim.udp_module import UdpModuleSender
from tests.support.ports import free_ports
from tests.support.process import WorkerProcess
from tests.support.two_modules import pattern_image
from tests.support.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("short_runtime_dir")]

GEOMETRY = GEOMETRIES["eiger-16"]
MODULE_ID = 264
BASE = 100_000
SUBSCRIBED_S = 1.0
"""In this time the assembler has subscribed to a receiver that is ready, s."""


class Detector:
    """Two receivers and the assembler, and what sends to them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.prefix = f"E{os.getpid()}:"
        self.runtime = RuntimeNames(self.prefix)
        *self.ports, self.out = free_ports(3)
        self.path, self.stack = folder / "eiger.toml", stack
        modules = "".join(
            f'[[udp]]\nname = "M{m:02}"\nport = {port}\naddress = "127.0.0.1"\ngeometry = "eiger-16"\n'
            f"expect_module_id = {MODULE_ID}\ncolumn = {m}\n"
            for m, port in enumerate(self.ports)
        )
        self.path.write_text(
            f'[detector]\nname = "E"\nprefix = "{self.prefix}"\n[dma]\ncfgRxCount = 64\ncfgSize = "256 KiB"\n'
            f'[disk]\nfolder = "{folder}/data"\nmin_free = "1 MiB"\n[stream]\nfull = "tcp://127.0.0.1:{self.out}"\n{modules}'
        )
        self.receivers = [self.receiver(m) for m in (0, 1)]
        self.stream = self.start("stream", "stream")
        self.images = stack.enter_context(stack.enter_context(zmq.Context()).socket(zmq.PULL))
        self.images.linger = 0
        self.images.connect(f"tcp://127.0.0.1:{self.out}")
        until(lambda: self.stream.status()["full"]["subscribers"] == 1)
        time.sleep(SUBSCRIBED_S)

    def start(self, worker: str, *words: str) -> WorkerProcess:
        process = WorkerProcess(self.prefix, worker, *words, str(self.path), *([worker[4:]] if "." in worker else []))
        self.stack.enter_context(process.ready())
        return process

    def receiver(self, number: int) -> WorkerProcess:
        return self.start(f"udp.M{number:02}", "receive")

    def count(self, first: int, last: int, modules: tuple[int, ...] = (0, 1)) -> None:
        """Send frames by their number, as the detector counts them, to both ports or to one."""
        schedule = Schedule.at_rate(200)
        senders = {
            m: UdpModuleSender(
                ("127.0.0.1", self.ports[m]),
                GEOMETRY,
                schedule,
                module_id=MODULE_ID,
                column=m,
                number=m,
                bunchid=False,
                first_frame=1,
            )
            for m in modules
        }
        for index in range(first, last + 1):
            for sender in senders.values():
                sender.send_frame(index - 1)
            time.sleep(0.005)
        for sender in senders.values():
            sender.close()

    def expect_images(self, base: int, first: int, last: int) -> None:
        """Take images: every one is whole, of the pulse that follows from the number, and has the pixels sent."""
        for index in range(first, last + 1):
            assert self.images.poll(10_000), f"no image of frame {index} came: {self.stream.status()}"
            header, pixels = decode_image(self.images.recv_multipart())
            assert (header.head.pulse_id, header.head.frame_index) == (base + index, index)
            assert header.head.is_good_frame
            assert np.array_equal(pixels, pattern_image(index, shape=GEOMETRY.shape))

    def check_clean(self, number: int, frames: int) -> None:
        status = self.receivers[number].status()
        packets, found = status["packets"], status["frames"]
        assert (found["complete"], found["incomplete"], found["bad_pulse"], found["resyncs"]) == (frames, 0, 0, 0)
        assert not any(packets[fate] for fate in ("bad_pulse", "alien", "malformed", "duplicate", "late", "held"))


def test_images_stay_whole_and_pulses_unique_when_the_count_starts_afresh(tmp_path: Path, stack: ExitStack):
    detector = Detector(tmp_path, stack)
    detector.count(1, 20)
    detector.expect_images(0, 1, 20)
    detector.count(21, 23, modules=(0,))  # the last ones reach one port only
    time.sleep(0.3)
    detector.count(1, 15)
    detector.expect_images(BASE, 1, 15)
    # One receiver dies, and the detector starts afresh before it is back.
    detector.receivers[1].end(signal.SIGKILL)
    time.sleep(0.3)
    detector.count(1, 5, modules=(0,))
    time.sleep(0.3)
    detector.receivers[1] = detector.receiver(1)
    time.sleep(SUBSCRIBED_S)
    detector.count(6, 30)
    # Until the first frame of the new receiver reaches the assembler, images are of the other module alone.
    while not (header := decode_image(detector.images.recv_multipart())[0].head).is_good_frame:
        assert 2 * BASE < header.pulse_id < 2 * BASE + 15
    assert header.pulse_id >= 2 * BASE + 6
    detector.expect_images(2 * BASE, header.frame_index + 1, 30)
    detector.check_clean(0, 20 + 3 + 15 + 30)
    detector.check_clean(1, 20 + 15 + 25)
    for m, worker in enumerate(detector.receivers):
        until(lambda worker=worker: not worker.status()["disk"]["queued"])
        reader = BufferReader(tmp_path / "data/E", f"M{m:02}")
        extent = reader.extent()
        assert extent is not None
        first_of_last = 1 if m == 0 else 6
        kept = [
            *range(1, 24 if m == 0 else 21),
            *range(BASE + 1, BASE + 16),
            *range(2 * BASE + first_of_last, 2 * BASE + 31),
        ]
        assert list(reader.pulses(*extent)) == kept
        for pulse_id in kept:
            frame = reader.read_frame(pulse_id)
            assert (frame.head.module_id, frame.head.frame_index) == (m, pulse_id % BASE)
            assert np.array_equal(frame.data, frame_pattern(pulse_id % BASE, m, GEOMETRY.shape, "uint16"))
