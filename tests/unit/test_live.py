import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zmq

from detectors.errors import CapacityError, ConfigError
from detectors.image_head import ImageHead
from detectors.live import LiveFrames, LiveImages
from detectors.live_streams import ImageStream, ModuleStream
from detectors.runtime_names import RuntimeNames
from detectors.wire.array10 import ImageHeader, encode_header
from detectors.wire.bslz4 import encode_bslz4
from tests.support.fake_module import SLOTS, FakeModule
from tests.support.hosts import on_hosts
from tests.support.two_modules import STREAMED, play_modules

SHAPE = (64, 128)


@pytest.fixture
def config(tmp_path: Path, short_runtime_dir: Path) -> Path:
    path = tmp_path / "detector.toml"
    path.write_text(STREAMED.format(prefix=f"L{os.getpid()}:", folder=short_runtime_dir, more=""))
    return path


@pytest.fixture
def modules(config: Path, stack: ExitStack) -> list[FakeModule]:
    return play_modules(stack, RuntimeNames(f"L{os.getpid()}:"), stack.enter_context(zmq.Context()))


def test_frames_come_one_by_one_as_the_module_finishes_them(config, modules):
    with LiveFrames(config, "M01", timeout_s=20) as frames:
        modules[1].wait_for_subscriber(modules[1].notify)
        for pulse_id in range(7, 12):
            modules[1].send(pulse_id)
        kept = [next(frames) for _ in range(5)]
        assert [head for head, _ in kept] == [modules[1].head(pulse_id) for pulse_id in range(7, 12)]
        for head, data in kept:  # each is an array of its own
            np.testing.assert_array_equal(data, modules[1].pixels(head.pulse_id))
        assert (frames.missed, frames.problem) == (0, "")


def test_frames_gather_between_two_looks(config, modules, monkeypatch):
    rests = []
    monkeypatch.setattr("detectors.live.time", SimpleNamespace(monotonic=lambda: 0.0, sleep=rests.append))
    with LiveFrames(config, "M00", timeout_s=20) as frames:
        modules[0].wait_for_subscriber(modules[0].notify)
        modules[0].send(1)
        assert next(frames)[0].pulse_id == 1
        before = len(rests)
        modules[0].send(2)
        assert next(frames)[0].pulse_id == 2
    assert len(rests) > before
    assert set(rests) == {0.008}


def test_frames_overwritten_before_they_were_read_are_missed(config, modules):
    out = np.empty(SHAPE, "<u2")
    with LiveFrames(config, "M00", out=out, timeout_s=0.2) as frames:
        modules[0].wait_for_subscriber(modules[0].notify)
        for pulse_id in range(100):
            modules[0].send(pulse_id)
        seen = []
        for head, data in frames:
            assert data is out
            np.testing.assert_array_equal(data, modules[0].pixels(head.pulse_id))
            seen.append(head.pulse_id)
        assert seen == list(range(100 - SLOTS, 100))
        assert frames.missed == 100 - SLOTS


def test_a_frame_overwritten_while_it_is_copied_is_not_given_out(config, modules, monkeypatch):
    with LiveFrames(config, "M00", timeout_s=0.2) as frames:
        modules[0].wait_for_subscriber(modules[0].notify)
        modules[0].send(1)
        copy = np.copyto

        def overwriting(to: np.ndarray, source: np.ndarray) -> None:
            copy(to, source)
            monkeypatch.undo()
            modules[0].send(1 + SLOTS, notify=False)

        monkeypatch.setattr("detectors.pools.pebble_reader.np.copyto", overwriting)
        assert list(frames) == []
        assert frames.missed == 1


def test_iteration_ends_after_silence_and_when_it_is_stopped(config, modules):
    begun = time.monotonic()
    with LiveFrames(config, "M00", timeout_s=0.15) as frames:
        assert list(frames) == []
    assert time.monotonic() - begun >= 0.15
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    with LiveFrames(config, "M00", stop=stop) as frames:
        assert list(frames) == []


def test_a_module_that_does_not_run_is_waited_for_and_said(config):
    with LiveFrames(config, "M00", timeout_s=0.1) as frames, zmq.Context() as context:
        assert list(frames) == []
        module = FakeModule(RuntimeNames(f"L{os.getpid()}:"), 0, context)
        module.wait_for_subscriber(module.notify)
        module.send(3)
        assert next(frames)[0].pulse_id == 3
        module.close()


def test_an_unknown_module_is_one_line(config):
    with pytest.raises(ConfigError, match="found 'M07', expected one of M00, M01"):
        LiveFrames(config, "M07")


@pytest.mark.parametrize("out", [np.empty((64, 127), "<u2"), np.empty(SHAPE, "<i2"), np.empty((128, 64), "<u2").T])
def test_memory_that_does_not_fit_is_one_line(config, modules, out):
    with LiveFrames(config, "M00", out=out, timeout_s=20) as frames:
        modules[0].wait_for_subscriber(modules[0].notify)
        modules[0].send(1)
        with pytest.raises(CapacityError, match=r"expected \[64, 128\] uint16, contiguous and writable"):
            next(frames)


def test_images_are_put_together(config, modules):
    with LiveImages(config, timeout_s=20) as images:
        for module in modules:
            module.wait_for_subscriber(module.notify)
        for pulse_id in (20, 21):
            for module in modules:
                module.send(pulse_id)
            head, data = next(images)
            assert head == ImageHead(pulse_id, pulse_id + 5, 1, True, 0b11)
            np.testing.assert_array_equal(data, np.concatenate([m.pixels(pulse_id) for m in modules]))
        assert (images.missed, images.problem) == (0, "")
        modules[0].send(22)  # the other is silent: after missing_after_s the image comes without it
        head, data = next(images)
        assert (head.pulse_id, head.is_good_frame, head.present) == (22, False, 0b01)
        assert not data[64:].any()
        assert images.problem == "no frames from M01"


def test_images_have_the_modules_of_other_hosts_by_their_streams(config, short_runtime_dir):
    text, port = on_hosts(config.read_text(), short_runtime_dir, {"M00": "h2", "M01": "h3", "stream": "h2"})
    config.write_text(text)
    runtime = RuntimeNames(f"L{os.getpid()}:")
    with zmq.Context() as context, LiveImages(config, host="h2", timeout_s=20) as images:
        near, far = (
            FakeModule(runtime, 0, context),
            FakeModule(runtime, 1, context, address=f"tcp://127.0.0.3:{port + 1}"),
        )
        near.wait_for_subscriber(near.notify)
        far.wait_for_subscriber(far.frames)
        near.send(20)
        far.publish(20)
        head, data = next(images)
        assert (head.pulse_id, head.is_good_frame) == (20, True)
        np.testing.assert_array_equal(data, np.concatenate([near.pixels(20), far.pixels(20)]))
        near.close()
        far.close()


def test_images_with_an_overwritten_frame_are_missed(config, modules):
    with LiveImages(config, timeout_s=0.2) as images:
        for module in modules:
            module.wait_for_subscriber(module.notify)
            module.send(1, notify=False)
            module.send(1 + SLOTS, notify=False)
            module.notify.send((1).to_bytes(8, "little"))
        assert list(images) == []
        assert images.missed == 1


def test_a_module_stream(modules):
    with ModuleStream(RuntimeNames(f"L{os.getpid()}:").frames("udp.M01"), SHAPE, "uint16", timeout_s=20) as frames:
        modules[1].wait_for_subscriber(modules[1].frames)
        modules[1].frames.send(b"something else")
        modules[1].publish(9)
        head, data = next(frames)
        assert head[:5] == modules[1].head(9)[:5]
        np.testing.assert_array_equal(data, modules[1].pixels(9))
        assert not data.flags.writeable
        assert frames.missed == 1


def test_packed_pixels_are_unpacked(config):
    with zmq.Context() as context:
        module = FakeModule(RuntimeNames(f"L{os.getpid()}:"), 0, context, dtype="uint12p")
        address = RuntimeNames(f"L{os.getpid()}:").frames("udp.M00")
        with (
            LiveFrames(config, "M00", timeout_s=20) as frames,
            ModuleStream(address, SHAPE, "uint12p", timeout_s=20) as stream,
        ):
            module.wait_for_subscriber(module.notify)
            module.wait_for_subscriber(module.frames)
            module.send(9)
            module.publish(9)
            for found in (frames, stream):
                data = next(found)[1]
                assert data.dtype == np.uint16
                np.testing.assert_array_equal(data, module.pixels(9))
        module.close()


@pytest.mark.parametrize("compression", ["none", "bslz4"])
@pytest.mark.parametrize(("kind", "socket"), [("full", zmq.PUSH), ("reduced", zmq.XPUB)])
def test_an_image_stream(kind, socket, compression, tmp_path):
    header = ImageHeader(ImageHead(5, 6, 7, True), "JF", "uint16", (2, 3), compression=compression)
    pixels = np.arange(6, dtype="<u2").reshape(2, 3)
    sent = pixels if compression == "none" else encode_bslz4(pixels)
    with zmq.Context() as context, context.socket(socket) as sender:
        sender.bind(f"ipc://{tmp_path}/images")
        with ImageStream(f"ipc://{tmp_path}/images", kind, timeout_s=20) as images:
            if kind == "reduced":
                assert sender.recv() == b"\1"
            for parts in (
                [b"no header", b""],
                [encode_header(header), sent],
                [encode_header(header, with_data=False), bytes(8)],
            ):
                sender.send_multipart(parts)
            found, data = next(images)
            assert found == header
            np.testing.assert_array_equal(data, pixels)
            assert next(images)[1] is None
            assert images.missed == 1
