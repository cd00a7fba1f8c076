"""The assembler as a process of its own, between modules that this test plays and real consumers."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import zmq

from detectors.config import parse_config
from detectors.stats import StreamStatus
from detectors.wire.array10 import decode_image
from detectors.workers.commands import request
from tests.support.balance import imbalance
from tests.support.fake_module import FakeModule
from tests.support.hosts import on_hosts
from tests.support.process import WorkerProcess
from tests.support.stock_bslz4 import read_chunk
from tests.support.two_modules import COLS, ROWS, STREAMED, pattern_image, play_modules


class Bench(WorkerProcess):
    """A running assembler and everything around it."""

    def __init__(self, folder: Path, stack: ExitStack, text: str = STREAMED) -> None:
        self.folder = folder
        self.stack = stack
        self.prefix = f"T{os.getpid()}:"
        self.config = text.format(prefix=self.prefix, folder=folder, more="")
        parse_config(self.config)
        self.path = folder / "config.toml"
        self.path.write_text(self.config)
        super().__init__(self.prefix, "stream", "stream", str(self.path))
        stack.enter_context(self.ready())
        self.context = zmq.Context()
        stack.callback(self.context.destroy, linger=0)

    def module(self, number: int, stack: ExitStack, address: str = "") -> FakeModule:
        module = FakeModule(self.runtime, number, self.context, address=address)
        stack.callback(module.close)
        return module

    def both_modules(self, stack: ExitStack) -> list[FakeModule]:
        """Start the modules, and wait until they are subscribed to."""
        modules = play_modules(stack, self.runtime, self.context)
        for module in modules:
            module.wait_for_subscriber(module.notify)
        return modules

    def consumer(self, kind: int, name: str, **options: int) -> zmq.Socket:
        socket = self.context.socket(kind)
        self.stack.callback(socket.close, linger=0)
        for option, value in options.items():
            setattr(socket, option, value)
        if kind == zmq.SUB:
            socket.subscribe(b"")
        before = self.status()[name]["subscribers"]
        socket.connect(f"ipc://{self.folder}/{name}")
        self.until(lambda s: s[name]["subscribers"] == before + 1)
        return socket

    def check_balance(self) -> dict:
        tree = self.until(lambda s: s["sync"]["queued"] == 0)
        assert not imbalance(StreamStatus, tree)
        return tree

    def stop(self) -> None:
        assert self.end() == 0
        assert not self.runtime.lock("stream").exists()


def receive(socket: zmq.Socket) -> list[bytes]:
    assert socket.poll(20_000)
    return socket.recv_multipart()


def test_images_of_local_modules(short_runtime_dir, stack):
    bench = Bench(short_runtime_dir, stack)
    full, reduced, pulse = (
        bench.consumer(kind, name) for kind, name in ((zmq.PULL, "full"), (zmq.SUB, "reduced"), (zmq.SUB, "pulse"))
    )
    # Initial start in any order: the assembler is there before its modules, and they start one after the other.
    modules = []
    for m in (1, 0):
        modules.append(bench.module(m, stack))
        modules[-1].wait_for_subscriber(modules[-1].notify)
    for pulse_id in range(100, 150):
        for module in modules:
            module.send(pulse_id)
        header, pixels = decode_image(receive(full))
        assert (header.head.pulse_id, header.head.frame_index, header.head.is_good_frame) == (
            pulse_id,
            pulse_id + 5,
            True,
        )
        assert (header.detector_name, header.dtype, header.shape) == ("JF", "uint16", (2 * ROWS, COLS))
        np.testing.assert_array_equal(pixels, pattern_image(pulse_id))
        assert receive(pulse) == [pulse_id.to_bytes(8, "little")]
        header, pixels = decode_image(receive(reduced))
        assert header.head.pulse_id == pulse_id
        if pixels is not None:
            np.testing.assert_array_equal(pixels, pattern_image(pulse_id))
    tree = bench.check_balance()
    assert tree["images"] == {
        "matched": 50, "assembled": 50, "overwritten": 0, "good": 50, "filled": 0, "gathered": 50
    }  # fmt: skip
    assert 1 <= tree["reduced_pixels"] <= 50
    assert tree["state"] == "Assembling"
    bench.stop()


def test_compressed_images_reach_a_client_that_knows_nothing_of_us(short_runtime_dir, stack):
    bench = Bench(short_runtime_dir, stack, STREAMED.replace("{more}", 'compression = "bslz4"'))
    full, reduced = bench.consumer(zmq.PULL, "full"), bench.consumer(zmq.SUB, "reduced")
    modules = bench.both_modules(stack)
    for pulse_id in range(100, 130):
        for module in modules:
            module.send(pulse_id)
        text, data = receive(full)
        head = json.loads(text)
        assert (head["pulse_id"], head["compression"]) == (pulse_id, "bslz4")
        np.testing.assert_array_equal(read_chunk(data, head["type"], tuple(head["shape"])), pattern_image(pulse_id))
        header, pixels = decode_image(receive(reduced))  # as without
        assert header.compression == "none"
        if pixels is not None:
            np.testing.assert_array_equal(pixels, pattern_image(pulse_id))
    tree = bench.check_balance()
    assert (tree["compressed"]["written"], tree["compressed"]["dropped"], tree["full"]["written"]) == (30, 0, 30)
    assert tree["compressed_pixel_bytes"] == 30 * 2 * ROWS * COLS * 2
    assert tree["compression_ratio"] == pytest.approx(tree["compressed_pixel_bytes"] / tree["compressed"]["bytes"])
    bench.stop()
    assert not bench.runtime.shm("stream").exists()


def test_nobody_listens_and_nothing_is_copied(short_runtime_dir, stack):
    bench = Bench(short_runtime_dir, stack)
    modules = bench.both_modules(stack)
    for pulse_id in range(1, 8):
        for module in modules:
            module.send(pulse_id)
        bench.until(lambda s, pulse_id=pulse_id: s["pulse_id"] == pulse_id)
    tree = bench.check_balance()
    assert (tree["images"]["gathered"], tree["full"]["disabled"], tree["pool"]["acquires"]) == (0, 7, 0)
    bench.stop()


def test_a_slow_consumer_of_one_stream_holds_up_nobody(short_runtime_dir, stack):
    bench = Bench(short_runtime_dir, stack)
    slow = bench.consumer(zmq.PULL, "full", rcvhwm=1)
    pulse = bench.consumer(zmq.SUB, "pulse")
    modules = bench.both_modules(stack)
    for pulse_id in range(1, 301):
        for module in modules:
            module.send(pulse_id)
        assert receive(pulse) == [pulse_id.to_bytes(8, "little")]  # in step with the modules, whatever full does
    tree = bench.check_balance()
    assert tree["pulse"]["written"] == 300
    assert tree["full"]["dropped"] > 100
    got = [decode_image(receive(slow)) for _ in range(tree["full"]["written"])]
    for header, pixels in got:
        np.testing.assert_array_equal(pixels, pattern_image(header.head.pulse_id))
    bench.until(lambda s: s["pool"]["in_use"] == 0)
    bench.stop()


def test_overwritten_frames_are_counted_and_never_sent(short_runtime_dir, stack):
    bench = Bench(short_runtime_dir, stack)
    full = bench.consumer(zmq.PULL, "full")
    modules = bench.both_modules(stack)
    for pulse_id in range(1, 41):  # the second module's ring of 16 goes round before anybody is told of its pulses
        modules[1].send(pulse_id, notify=False)
    for pulse_id in range(25, 41):
        modules[0].send(pulse_id)
    for pulse_id in (20, *range(25, 41)):
        modules[1].notify.send(pulse_id.to_bytes(8, "little"))
    modules[0].send(57)  # the slot of 41 and 25 in the first module
    modules[1].send(57)
    bench.until(lambda s: s["images"]["assembled"] >= 1 and s["pulse_id"] == 57)
    tree = bench.check_balance()
    assert tree["images"]["matched"] == tree["images"]["assembled"] + tree["images"]["overwritten"]
    for _ in range(tree["full"]["written"]):
        header, pixels = decode_image(receive(full))
        np.testing.assert_array_equal(pixels, pattern_image(header.head.pulse_id))
    bench.stop()


def test_a_dead_module_is_filled_and_taken_back(short_runtime_dir, stack):
    bench = Bench(short_runtime_dir, stack)
    full = bench.consumer(zmq.PULL, "full")
    modules = bench.both_modules(stack)
    for module in modules:
        module.send(1)
    assert decode_image(receive(full))[0].head.is_good_frame
    modules[0].send(2)
    header, pixels = decode_image(receive(full))  # after missing_after_s
    assert (header.head.pulse_id, header.head.is_good_frame) == (2, False)
    np.testing.assert_array_equal(pixels, pattern_image(2, modules=(0,)))
    tree = bench.until(lambda s: s["state"] == "Incomplete")
    assert (tree["sync"]["missing_mask"], tree["sync"]["missing"], tree["message"]) == (2, 1, "no frames from M01")
    modules[1].send(3)
    bench.until(lambda s: s["sync"]["missing"] == 0)
    modules[0].send(3)
    header, pixels = decode_image(receive(full))
    assert (header.head.pulse_id, header.head.is_good_frame) == (3, True)
    tree = bench.check_balance()
    assert tree["images"]["filled"] == 1
    bench.stop()


def test_a_module_that_restarts_is_found_again(short_runtime_dir, stack):
    bench = Bench(short_runtime_dir, stack)
    full = bench.consumer(zmq.PULL, "full")
    modules = bench.both_modules(stack)
    for module in modules:
        module.send(1)
    assert decode_image(receive(full))[0].head.pulse_id == 1
    modules[1].close()
    modules[1] = bench.module(1, stack)
    modules[1].wait_for_subscriber(modules[1].notify)
    for module in modules:
        module.send(2)
    header, pixels = decode_image(receive(full))
    assert header.head.pulse_id == 2
    np.testing.assert_array_equal(pixels, pattern_image(2))
    bench.stop()


def test_losing_step_is_an_alarm_and_not_the_end(short_runtime_dir, stack):
    bench = Bench(short_runtime_dir, stack)
    full = bench.consumer(zmq.PULL, "full")
    modules = bench.both_modules(stack)
    for module in modules:
        module.send(1)
    assert decode_image(receive(full))[0].head.pulse_id == 1
    modules[0].send(2)
    modules[1].send(5000)
    tree = bench.until(lambda s: s["sync"]["losses"] == 1)
    assert (tree["state"], "4998 pulses apart" in tree["message"]) == ("OutOfStep", True)
    for module in modules:
        module.send(5001)
    assert decode_image(receive(full))[0].head.pulse_id == 5001
    assert bench.check_balance()["state"] == "Assembling"
    bench.stop()


def test_modules_of_this_host_and_another(short_runtime_dir, stack):
    text, port = on_hosts(STREAMED, short_runtime_dir, {"M00": "h2", "M01": "h3", "stream": "h2"})
    bench = Bench(short_runtime_dir, stack, text)
    full = bench.consumer(zmq.PULL, "full")
    near = bench.module(0, stack)
    near.wait_for_subscriber(near.notify)
    far = bench.module(1, stack, f"tcp://127.0.0.3:{port + 1}")
    far.wait_for_subscriber(far.frames)
    for pulse_id in range(100, 150):
        near.send(pulse_id)
        far.publish(pulse_id)
        header, pixels = decode_image(receive(full))
        assert (header.head.pulse_id, header.head.frame_index, header.head.is_good_frame) == (
            pulse_id,
            pulse_id + 5,
            True,
        )
        np.testing.assert_array_equal(pixels, pattern_image(pulse_id))
    far.frames.send(b"no frame")
    bench.until(lambda s: s["sync"]["malformed"] == 1)
    bench.check_balance()
    assert not near.frames.poll(0)  # its stream is for other hosts
    bench.stop()


def test_streams_are_switched_and_paced_by_commands(short_runtime_dir, stack):
    bench = Bench(short_runtime_dir, stack)
    command = bench.runtime.command("stream")
    request(command, "output", output="full", enabled=False)
    request(command, "reduced_rate", hz=50.0)
    assert bench.status()["full"]["state"] == "Off"
    with pytest.raises(Exception, match="expected one of full, reduced, pulse"):
        request(command, "output", output="disk", enabled=True)
    with pytest.raises(Exception, match="expected a number above 0"):
        request(command, "reduced_rate", hz=0)
    bench.stop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[stream]", "[zmq]\n[stream]"), None),
        (('full = "ipc', 'full = "nonsense'), "cannot publish there"),
    ],
)
def test_a_wrong_configuration_is_one_line(short_runtime_dir, change, message):
    if message is None:
        text = STREAMED.format(prefix="T:", folder=short_runtime_dir, more="").split("[stream]")[0]
        message = "stream: missing"
    else:
        text = STREAMED.format(prefix="T:", folder=short_runtime_dir, more="").replace(*change)
    path = short_runtime_dir / "config.toml"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "ioc", "stream", str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
