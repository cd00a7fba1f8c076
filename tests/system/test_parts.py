"""Images in parts: workers of two hosts that stream what they have, and the stream that joins it, each a process of its own."""

import os
import signal
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import zmq

from detectors.config import parse_config
from detectors.parts import parts
from detectors.runtime_names import RuntimeNames
from detectors.stats import StreamStatus
from detectors.wire.array10 import ImageHeader, decode_image
from tests.support.balance import imbalance
from tests.support.fake_module import FakeModule
from tests.support.hosts import on_host, on_hosts
from tests.support.process import WorkerProcess
from tests.support.waiting import until

ROWS, COLS = 64, 128
EVERY = 5
HOSTS = {"M00": "h2", "M01": "h3", "M02": "h2", "M03": "h3"}
CONFIG = (
    '[detector]\nname = "JF"\nprefix = "{prefix}"\npulse_id_step = 2\n[dma]\ncfgRxCount = 40\n'
    + "".join(
        f'[[udp]]\nname = "{name}"\nexpect_module_id = {m}\nport = {50020 + m}\n'
        'geometry = {{ header = "jungfrau", rows = 64, cols = 128, dtype = "uint16", packets_per_frame = 4 }}\n'
        for m, name in enumerate(HOSTS)
    )
    + '[stream]\nfull = "ipc://{folder}/full"\nreduced = "ipc://{folder}/reduced"\npulse = "ipc://{folder}/pulse"\n'
    f"reduced_rate_hz = 1000\nmissing_after_s = 0.3\nparts = true\npart_port_base = {{port}}\njoin_every = {EVERY}\n"
)


class HostWorker(WorkerProcess):
    """A worker of a host, and the modules that it reads."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        with on_host(folder):
            super().__init__(*words)
            self.ready()

    def status(self) -> dict:
        with on_host(self.folder):
            return super().status()


class Bench:
    """Two hosts with two modules each, and the stream of whole images."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.stack, self.folder, self.prefix = stack, folder, f"T{os.getpid()}:"
        text, port = on_hosts(CONFIG.format(prefix=self.prefix, folder=folder, port="PORT"), folder, HOSTS)
        text = text.replace("PORT", str(port + 20))
        self.config = parse_config(text)
        self.path = folder / "config.toml"
        self.path.write_text(text)
        self.context = zmq.Context()
        stack.callback(self.context.destroy, linger=0)
        self.parts: list[HostWorker] = []
        self.modules: dict[int, FakeModule] = {}
        for part in parts(self.config):
            host = part.host.name
            self.parts.append(stack.enter_context(self.worker(host)))
            with on_host(folder / host):
                for m in part.place.modules:
                    module = self.modules[m] = FakeModule(RuntimeNames(self.prefix), m, self.context)
                    stack.callback(module.close)
                    module.wait_for_subscriber(module.notify)
        self.stream = stack.enter_context(WorkerProcess(self.prefix, "stream", "stream", str(self.path)).ready())

    def worker(self, host: str) -> HostWorker:
        return HostWorker(self.folder / host, self.prefix, f"parts.{host}", "stream", str(self.path), host)

    def connect(self, kind: int, address: str) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        self.stack.callback(socket.close, linger=0)
        if kind == zmq.SUB:
            socket.subscribe(b"")
        socket.connect(address)
        return socket

    def consumer(self, kind: int, name: str) -> zmq.Socket[bytes]:
        """A consumer of whole images, once all parts are subscribed to."""
        socket = self.connect(kind, f"ipc://{self.folder}/{name}")
        self.stream.until(lambda s: s[name]["subscribers"] == 1)
        for worker in self.parts:
            worker.until(lambda s: s["reduced"]["subscribers"] == 1)
        return socket

    def send(self, pulse_id: int, *modules: int) -> None:
        for m in modules or self.modules:
            self.modules[m].send(pulse_id)

    def image(self, pulse_id: int, *modules: int) -> np.ndarray:
        """What a whole image of a pulse is, or one that has some modules only."""
        found = [self.modules[m].pixels(pulse_id) for m in sorted(self.modules)]
        return np.concatenate([f if m in (modules or self.modules) else np.zeros_like(f) for m, f in enumerate(found)])

    def settled(self) -> dict:
        tree = self.stream.until(lambda s: s["sync"]["queued"] == 0)
        assert not imbalance(StreamStatus, tree)
        return tree


@pytest.fixture
def bench(short_runtime_dir: Path, stack: ExitStack) -> Bench:
    return Bench(short_runtime_dir, stack)


def receive(socket: zmq.Socket[bytes]) -> tuple[ImageHeader, np.ndarray | None]:
    assert socket.poll(20_000)
    return decode_image(socket.recv_multipart())


def test_parts_are_joined_to_whole_images(bench: Bench) -> None:
    full, reduced, pulse = (
        bench.consumer(kind, name) for kind, name in ((zmq.PULL, "full"), (zmq.SUB, "reduced"), (zmq.SUB, "pulse"))
    )
    pulses = range(101, 161, 2)
    for pulse_id in pulses:
        bench.send(pulse_id)
        header, pixels = receive(reduced)
        head = header.head
        assert (head.pulse_id, head.frame_index, head.is_good_frame, head.present) == (
            pulse_id,
            pulse_id + 5,
            True,
            0b1111,
        )
        assert (pixels is not None) == (pulse_id // 2 % EVERY == 0)
        if pixels is not None:
            np.testing.assert_array_equal(pixels, bench.image(pulse_id))
            header, pixels = receive(full)
            assert (header.head, header.detector_name, header.part) == (head, "JF", None)
            np.testing.assert_array_equal(pixels, bench.image(pulse_id))
        assert pulse.recv() == pulse_id.to_bytes(8, "little")
    tree = bench.settled()
    assert tree["images"] | {"gathered": 0} == {
        "matched": 30, "assembled": 30, "overwritten": 0, "good": 30, "filled": 0, "gathered": 0
    }  # fmt: skip
    assert (tree["full"]["written"], tree["full"]["disabled"], tree["full"]["dropped"]) == (6, 24, 0)
    assert (tree["state"], tree["modules"], tree["sync"]["lost"]) == ("Assembling", 4, 0)


def test_a_part_tells_where_it_lies(bench: Bench) -> None:
    second = parts(bench.config)[1]
    own = bench.connect(zmq.PULL, second.bound["full"])
    bench.parts[1].until(lambda s: s["full"]["subscribers"] == 1)
    for pulse_id in (7, 9):
        bench.send(pulse_id)
        header, pixels = receive(own)
        assert (header.head.pulse_id, header.head.present, header.head.is_good_frame) == (pulse_id, 0b1010, True)
        assert header.part is not None
        assert (header.part.modules, header.part.of_modules) == ((1, 3), 4)
        np.testing.assert_array_equal(pixels, np.concatenate([bench.modules[m].pixels(pulse_id) for m in (1, 3)]))
    assert bench.stream.status()["state"] == "Idle"  # nobody wants whole images


@pytest.mark.long
def test_a_host_that_is_gone_is_modules_that_are_missing(bench: Bench) -> None:
    reduced = bench.consumer(zmq.SUB, "reduced")
    bench.send(20)
    np.testing.assert_array_equal(receive(reduced)[1], bench.image(20))
    bench.parts[1].end()
    bench.send(30, 0, 2)
    header, pixels = receive(reduced)  # after missing_after_s
    assert (header.head.pulse_id, header.head.present, header.head.packets_missing) == (30, 0b0101, 8)
    np.testing.assert_array_equal(pixels, bench.image(30, 0, 2))
    tree = bench.stream.until(lambda s: s["state"] == "Incomplete")
    assert (tree["sync"]["missing_mask"], tree["message"]) == (0b1010, "no frames from M01, M03")
    bench.parts[1] = bench.stack.enter_context(bench.worker("h3"))
    bench.parts[1].until(lambda s: s["reduced"]["subscribers"] == 1)
    pulses = count(40, 2)

    def back() -> bool:
        bench.send(next(pulses), 1, 3)
        return bench.stream.status()["sync"]["missing"] == 0

    until(back)
    last = next(pulses)
    bench.send(last)
    header, _ = receive(reduced)
    assert (header.head.pulse_id, header.head.present) == (last, 0b1111)
    assert bench.settled()["images"]["filled"] == 1


@pytest.mark.long
def test_what_is_lost_between_hosts_is_counted(bench: Bench) -> None:
    reduced = bench.consumer(zmq.SUB, "reduced")
    pulses = count(20, 2)

    def send(images: int) -> None:
        for _ in range(images):
            bench.send(next(pulses))

    send(5)
    bench.stream.until(lambda s: s["images"]["assembled"] == 5)
    os.kill(bench.stream.pid, signal.SIGSTOP)
    for sent in range(
        15, 2506, 10
    ):  # more than what waits for it in its sockets, and no more at once than a pebble holds
        send(10)
        for worker in bench.parts:
            worker.until(lambda s: s["sync"]["received"] == 2 * sent and not s["sync"]["queued"])  # noqa: B023
    os.kill(bench.stream.pid, signal.SIGCONT)
    bench.stream.until(lambda s: s["sync"]["queued"] == 0)
    made = [worker.status()["images"]["assembled"] for worker in bench.parts]

    def all_counted() -> bool:
        send(1)  # a gap shows when the next image has come
        sync = bench.stream.status()["sync"]
        return sync["received"] + sync["lost"] >= sum(made) + 2

    until(all_counted)
    last = next(pulses)
    bench.send(last)
    bench.stream.until(lambda s: s["pulse_id"] == last)
    tree, made = bench.settled(), [worker.status()["images"]["assembled"] for worker in bench.parts]
    assert tree["sync"]["lost"] > 0
    assert tree["sync"]["received"] + tree["sync"]["lost"] == sum(made)
    while reduced.poll(100):
        reduced.recv_multipart()


@pytest.mark.long
def test_a_module_that_a_part_lacks_is_named(bench: Bench) -> None:
    reduced = bench.consumer(zmq.SUB, "reduced")
    bench.send(20)
    receive(reduced)
    bench.send(30, 0, 1, 3)
    header, pixels = receive(reduced)
    assert (header.head.pulse_id, header.head.present, header.head.is_good_frame) == (30, 0b1011, False)
    np.testing.assert_array_equal(pixels, bench.image(30, 0, 1, 3))
    tree = bench.stream.until(lambda s: s["state"] == "Incomplete")
    assert (tree["message"], tree["images"]["filled"]) == ("no frames from M02", 1)
