import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from detectors.errors import HostError
from detectors.frame import FrameHead, RecordShape
from detectors.outputs.zmq_module import ModulePublisher
from detectors.pools.pebble import Pebble, PebbleLease
from detectors.wire.module_message import parse_module_message
from tests.support.waiting import until

DATA_BYTES = 1 << 20


@pytest.fixture
def pebble() -> Iterator[Pebble]:
    shape = RecordShape(DATA_BYTES)
    pebble = Pebble(None, shape, count=8, slot_bytes=shape.span_bytes + 4096)
    yield pebble
    pebble.close()


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[ModulePublisher]:
    publisher = ModulePublisher("tcp://127.0.0.1:*", 3)
    yield publisher
    publisher.close()


def lease(pebble: Pebble, pulse: int) -> PebbleLease:
    loan = pebble.claim(pulse)
    loan.data[:] = pulse % 251
    return loan.freeze(FrameHead(pulse, pulse + 1, 7, 128, 3))


def wait_for(publisher: ModulePublisher, condition: Callable[[], bool]) -> None:
    until(lambda: publisher.idle() or condition())


def test_nobody_listens(publisher: ModulePublisher, pebble: Pebble) -> None:
    assert not publisher.wanted
    with lease(pebble, 5) as frame:
        assert publisher.write([frame]) == 0


def test_a_frame_is_two_parts(publisher: ModulePublisher, pebble: Pebble) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.subscribe(b"")
        socket.connect(publisher.address)
        wait_for(publisher, lambda: publisher.wanted)
        with lease(pebble, 77) as frame:
            assert publisher.write([frame]) == 1
        assert socket.poll(20_000)
        head, data = parse_module_message(socket.recv_multipart(), DATA_BYTES)
        assert head[:5] == (77, 78, 7, 128, 3)
        assert np.all(data == 77)
        assert publisher.figures.subscribers == 1
        assert publisher.figures.bytes == DATA_BYTES
    wait_for(publisher, lambda: not publisher.wanted)


def test_a_slow_subscriber_is_counted_and_does_not_hold_up_a_fast_one(
    publisher: ModulePublisher, pebble: Pebble
) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as slow, context.socket(zmq.SUB) as fast:
        slow.rcvhwm = 1
        slow.setsockopt(zmq.RCVBUF, 4096)
        for socket in (slow, fast):
            socket.subscribe(b"")
            socket.connect(publisher.address)
        wait_for(publisher, lambda: publisher.figures.subscribers == 2)
        lost, got, pulse = 0, [], 0
        deadline = time.monotonic() + 30
        while lost < 1 or pulse < 30:
            assert time.monotonic() < deadline
            with lease(pebble, pulse) as frame:
                try:
                    publisher.write([frame])
                except BlockingIOError:
                    lost += 1
            assert fast.poll(20_000)
            got.append(parse_module_message(fast.recv_multipart(), DATA_BYTES)[0].pulse_id)
            pulse += 1
        assert got == list(range(pulse))


def test_an_address_in_use_is_one_line(publisher: ModulePublisher) -> None:
    with pytest.raises(HostError, match=r"cannot publish there: Address already in use; free it or choose another"):
        ModulePublisher(publisher.address, 3)
