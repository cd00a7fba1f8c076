from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import zmq

from detectors.config import Config, parse_config
from detectors.errors import ConfigError
from detectors.image_head import ImageHead
from detectors.wire.array10 import NO_DATA, ImageHeader, encode_header
from detectors.workers.detector_modules import DetectorModules
from detectors.workers.gather import Gatherer
from detectors.workers.streamed_images import StreamedImages, members_to_show

GEOMETRY = 'geometry = { header = "jungfrau", rows = 4, cols = 8, dtype = "uint16", packets_per_frame = 4 }'
CONFIG = f"""
[detector]
name = "D"
prefix = "D:"
[[udp]]
name = "M0"
port = 5000
host = "a"
{GEOMETRY}
[[udp]]
name = "M1"
port = 5001
host = "b"
{GEOMETRY}
[[host]]
name = "a"
address = "127.0.0.2"
[[host]]
name = "b"
[control]
port_base = 52000
curve_keys = "/keys"
[zmq]
port_base = 51000
[stream]
host = "a"
reduced = "tcp://*:5100"
[images]
"""
HEADER = ImageHeader(ImageHead(7, 70, 1, present=0b01), "D", "uint16", (8, 8))


@pytest.fixture
def stream() -> Iterator["zmq.Socket[bytes]"]:
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        yield socket


def served(stream: "zmq.Socket[bytes]") -> Config:
    """A configuration whose stream is the one that a test plays."""
    port = stream.bind_to_random_port("tcp://127.0.0.2")
    return parse_config(CONFIG.replace(":5100", f":{port}"))


def members(config: Config, host: str | None, *, pixels_only: bool = False) -> StreamedImages | DetectorModules:
    found = members_to_show(config, config.udp, host, pixels_only=pixels_only)
    assert isinstance(found, StreamedImages | DetectorModules)
    return found


def test_the_newest_image_with_pixels_is_shown(stream):
    gatherer = Gatherer(members(served(stream), None, pixels_only=True))
    with closing(gatherer):
        gatherer.open()
        assert "no image from tcp://127.0.0.2:" in gatherer.state()[1]
        assert stream.poll(20_000)
        for pulse in range(1, 6):
            header = replace(HEADER, head=HEADER.head._replace(pulse_id=pulse))
            with_data = pulse in (2, 4)
            data = np.full(64, pulse, np.uint16).tobytes() if with_data else NO_DATA
            stream.send_multipart([encode_header(header, with_data=with_data), data])
        while (matched := gatherer.newest()) is None or matched.pulse_id < 4:
            pass
        out = np.empty(128, np.uint8)
        header = gatherer.assemble(matched, out)
        assert header is not None
        assert (header.head, header.shape) == (HEADER.head._replace(pulse_id=4, packets_missing=0), (8, 8))
        assert (out.view(np.uint16) == 4).all()
        assert gatherer.state() == ("Incomplete", "no frames from M1")


def test_modules_of_one_host_are_read_there_and_those_of_several_by_the_stream():
    config = parse_config(CONFIG)
    assert isinstance(members(config, "a"), StreamedImages)
    assert isinstance(members(parse_config(CONFIG.replace('host = "b"', 'host = "a"')), "a"), DetectorModules)


def test_a_stream_that_cannot_be_had_is_one_line():
    with pytest.raises(
        ConfigError, match=r"stream.reduced: missing; images shows modules of other hosts by this stream"
    ):
        parse_config(CONFIG.replace('reduced = "tcp://*:5100"', 'pulse = "tcp://*:5100"'))
    with pytest.raises(ConfigError, match=r"found 'ipc:///tmp/r', expected a tcp address"):
        parse_config(CONFIG.replace("tcp://*:5100", "ipc:///tmp/r"))
