import threading

import numpy as np
import pytest
import zmq

from detectors.buffer.reader import BufferReader
from detectors.errors import ConfigError, HostError
from detectors.replay.play import replay
from detectors.replay.streams import ImageStreamTarget, ModuleStreamTarget
from detectors.wire.array10 import decode_image
from detectors.wire.module_message import parse_module_message
from tests.unit.buffer.make import RawBuffer

ANY = "tcp://127.0.0.1:*"


@pytest.fixture
def raw(tmp_path) -> RawBuffer:
    return RawBuffer(tmp_path / "JF").fill(range(40), lacking=[("M01", 7)])


@pytest.fixture
def context():
    with zmq.Context() as context:
        yield context


def test_module_streams_lose_nothing_however_fast(raw, context):
    reader = BufferReader(raw.folder)
    target = ModuleStreamTarget(reader, [ANY, ANY])
    sockets = [context.socket(zmq.SUB) for _ in raw.modules]
    for sock, address in zip(sockets, target.addresses, strict=True):
        sock.rcvhwm, sock.rcvtimeo, sock.linger = 1, 5000, 0
        sock.subscribe(b"")
        sock.connect(address)
    thread = threading.Thread(target=lambda: replay(reader, target, start=0, stop=39))
    thread.start()
    for module, sock, count in zip(raw.modules, sockets, (40, 39), strict=True):
        pulses = []
        for _ in range(count):
            head, data = parse_module_message(sock.recv_multipart(), raw.nbytes)
            pulses.append(head.pulse_id)
            assert head[:5] == (head.pulse_id, head.pulse_id + 7, 3, 128, raw.modules.index(module))
            assert data.tobytes() == raw.frame(module, pulses[-1]).tobytes()
        assert pulses == [p for p in range(40) if (module, p) != ("M01", 7)]
    thread.join()
    for sock in sockets:
        sock.close()
    target.close()


def test_images_are_array_1_0(raw, context):
    reader = BufferReader(raw.folder)
    target = ImageStreamTarget(reader, ANY)
    sock = context.socket(zmq.PULL)
    sock.rcvtimeo, sock.linger = 5000, 0
    sock.connect(target.address)
    replay(reader, target, start=6, stop=7)
    for pulse_id, good in ((6, True), (7, False)):
        header, image = decode_image(sock.recv_multipart())
        assert (header.head.pulse_id, header.head.frame_index, header.head.is_good_frame) == (
            pulse_id,
            pulse_id + 7,
            good,
        )
        assert (header.head.daq_rec, header.detector_name) == (3, "JF")
        below = raw.frame("M01", pulse_id) if good else np.zeros((8, 16))
        np.testing.assert_array_equal(image, np.vstack([raw.frame("M00", pulse_id), below]))
    sock.close()
    target.close()


def test_without_a_consumer_it_gives_up_and_says_so(raw):
    reader = BufferReader(raw.folder)
    target = ModuleStreamTarget(reader, [ANY, ANY], wait_s=0.05)
    with pytest.raises(HostError, match=r"tcp://127.* found no consumer within 0.05 s; start it"):
        replay(reader, target, start=0, stop=9)
    target.close()
    images = ImageStreamTarget(reader, ANY, wait_s=0.05)
    with pytest.raises(HostError, match=r"found no consumer within 0.05 s; start it"):
        replay(reader, images, start=0, stop=9)
    with pytest.raises(HostError, match="the consumer takes nothing"):
        images.send(reader.read_image(6), 0.0)
    images.close()


def test_addresses_that_cannot_be_had(raw):
    reader = BufferReader(raw.folder)
    target = ImageStreamTarget(reader, ANY)
    with pytest.raises(HostError, match="cannot publish there: Address already in use"):
        ModuleStreamTarget(reader, [ANY, target.address])
    with pytest.raises(HostError, match="cannot publish there"):
        ImageStreamTarget(reader, target.address)
    with pytest.raises(ConfigError, match="found 1 addresses, expected one for each of M00, M01"):
        ModuleStreamTarget(reader, [ANY])
    target.close()
