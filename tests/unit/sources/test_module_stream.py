import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import zmq

from detectors.errors import HostError
from detectors.frame import MODULE_FRAME, FrameHead, RecordShape
from detectors.pools.pebble import Pebble
from detectors.pools.segment import least_slot_bytes
from detectors.sources.module_stream import NOTIFICATION, LocalModule, Modules, RemoteModule

PIXELS = 64
SHAPE = RecordShape(PIXELS)
COUNT = 4


def pixels(pulse_id: int) -> np.ndarray:
    return np.full(PIXELS, pulse_id % 251, np.uint8)


def make_pebble(path: Path, shape: RecordShape = SHAPE) -> Pebble:
    info = {"dtype": "uint8", "shape": [shape.data_bytes]}
    return Pebble(path, shape, count=COUNT, slot_bytes=least_slot_bytes(shape), info=info)


def put(pebble: Pebble, pulse_id: int) -> None:
    loan = pebble.claim(pulse_id)
    loan.data[:] = pixels(pulse_id)
    loan.freeze(FrameHead(pulse_id, pulse_id + 5, 3, 2, 1)).close()


@pytest.fixture
def segment() -> Iterator[Path]:
    path = Path(f"/dev/shm/pebbledaq-test-{os.getpid()}-stream")
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Callable[[], tuple[zmq.Socket[bytes], str]]]:
    """Makes bound XPUB sockets, whose subscribers can be waited for, with their addresses."""
    context = zmq.Context()
    made: list[zmq.Socket[bytes]] = []

    def make() -> tuple[zmq.Socket[bytes], str]:
        socket = context.socket(zmq.XPUB)
        address = f"ipc://{tmp_path}/{len(made)}"
        made.append(socket)
        socket.bind(address)
        return socket, address

    yield make
    for socket in made:
        socket.close(linger=0)
    context.term()


def heard(socket: zmq.Socket[bytes]) -> None:
    """Wait until somebody has subscribed."""
    assert socket.poll(20_000)
    assert socket.recv() == b"\1"


def poll(stream: Modules, count: int, done: Callable[[], int] = lambda: 0) -> list[tuple[int, int]]:
    """What comes until ``count`` pulses and messages that were ``done`` away with have come."""
    found: list[tuple[int, int]] = []
    deadline = time.monotonic() + 5
    while len(found) + done() < count:
        assert time.monotonic() < deadline, found
        found += stream.poll(0.05)
    return found


def message(pulse_id: int) -> list[bytes]:
    head = np.array([(pulse_id, pulse_id + 5, 3, 2, 1)], MODULE_FRAME)
    return [head.tobytes(), pixels(pulse_id).tobytes()]


def read(module: LocalModule | RemoteModule, pulse_id: int, out: np.ndarray | None) -> FrameHead | None:
    """Find a frame, copy its pixels, and check that they were there all the time."""
    frame = module.find(pulse_id)
    if frame is None:
        return None
    if out is not None:
        np.copyto(out, frame.data)
    return frame.head if module.check(frame) else None


def local(segment: Path, *addresses: str) -> Modules:
    return Modules(addresses, [LocalModule(segment, PIXELS) for _ in addresses])


def remote(*addresses: str) -> Modules:
    readers = [RemoteModule(SHAPE, COUNT, least_slot_bytes(SHAPE), 1, expected=2, queue=100) for _ in addresses]
    return Modules(addresses, readers)


def test_a_module_is_attached_when_it_comes_and_read(segment: Path) -> None:
    module = LocalModule(segment, PIXELS)
    out = np.zeros(PIXELS, np.uint8)
    assert read(module, 7, out) is None
    assert str(segment) in module.problem
    with closing(make_pebble(segment)) as pebble:
        put(pebble, 7)
        copy = read(module, 7, out)
        assert copy is not None
        assert (copy.pulse_id, copy.frame_index, copy.daq_rec, copy.n_recv_packets, copy.module_id) == (7, 12, 3, 2, 1)
        np.testing.assert_array_equal(out, pixels(7))
        assert module.problem == ""
        assert read(module, 7, None) is not None  # of whom nobody wants pixels
        assert read(module, 8, out) is None
        put(pebble, 7 + COUNT)
        assert read(module, 7, out) is None  # its slot was taken
        info = module.info()
        assert info is not None
        assert info["dtype"] == "uint8"
        found = module.find(7 + COUNT)
        assert found is not None
        assert found.data.nbytes == PIXELS
    module.close()
    module.close()


def test_a_pebble_made_anew_is_not_taken_for_the_old_one(segment: Path) -> None:
    module = LocalModule(segment, None)
    out = np.zeros(PIXELS, np.uint8)
    with closing(make_pebble(segment)) as old:
        put(old, 1)
        assert read(module, 1, out) is not None
        with closing(make_pebble(segment)) as new:
            assert read(module, 1, out) is None
            put(new, 2)
            assert read(module, 2, out) is not None
    module.close()


def test_frames_of_another_size_are_named_as_the_problem(segment: Path) -> None:
    module = LocalModule(segment, PIXELS)
    with closing(make_pebble(segment, RecordShape(2 * PIXELS))):
        assert read(module, 1, np.zeros(PIXELS, np.uint8)) is None
        assert "found frames of 128 bytes, expected 64" in module.problem
    with closing(make_pebble(segment)) as pebble:  # it came back as it should
        put(pebble, 1)
        assert read(module, 1, None) is not None
        assert module.problem == ""
    module.close()


def test_notifications_tell_whose_pulse_came(publisher, segment: Path) -> None:
    (first, a), (second, b) = publisher(), publisher()
    with closing(local(segment, a, b)) as stream:
        for socket in (first, second):
            heard(socket)
        for pulse_id in (5, 6):
            first.send(NOTIFICATION.pack(pulse_id))
        second.send(b"short")
        second.send_multipart([NOTIFICATION.pack(1), b"more"])
        second.send(NOTIFICATION.pack(2**64 - 1))
        found = poll(stream, 5, lambda: stream.malformed)
        assert sorted(found) == [(0, 5), (0, 6), (1, 2**64 - 1)]
        assert stream.malformed == 2
        assert isinstance(stream.readers[0], LocalModule)
        assert stream.readers[0].info() is None
        assert stream.poll(0) == []


def test_one_that_has_much_to_tell_is_heard_in_turn_with_the_others(publisher, segment: Path) -> None:
    (first, a), (second, b) = publisher(), publisher()
    with closing(local(segment, a, b)) as stream:
        for socket in (first, second):
            heard(socket)
        for pulse_id in range(100):
            first.send(NOTIFICATION.pack(pulse_id))
        second.send(NOTIFICATION.pack(0))
        found = poll(stream, 101)
        assert [p for m, p in found if m == 0] == list(range(100))
        assert (1, 0) in found


def test_remote_frames_are_kept_until_their_slot_is_needed(publisher) -> None:
    socket, address = publisher()
    with closing(remote(address)) as stream:
        heard(socket)
        for pulse_id in range(1, 7):
            socket.send_multipart(message(pulse_id))
        assert poll(stream, 6) == [(0, p) for p in range(1, 7)]
        (module,) = stream.readers
        out = np.zeros(PIXELS, np.uint8)
        kept = [p for p in range(1, 7) if read(module, p, out)]
        assert kept == [4, 5, 6]  # one slot less than there are: the newest of each
        copy = read(module, 6, out)
        assert copy is not None
        assert (copy.frame_index, copy.n_recv_packets, copy.expected_packets) == (11, 2, 2)
        np.testing.assert_array_equal(out, pixels(6))
        assert read(module, 5, None) is not None
        assert (stream.malformed, stream.exhausted) == (0, 0)


@pytest.mark.parametrize(
    "parts", [[b"x"], [b"x" * 40], [b"x" * 40, b"x" * 63], [b"x" * 39, b"x" * PIXELS], [b"x" * 40, b"x" * PIXELS, b""]]
)
def test_what_is_no_frame_is_counted_and_harms_nothing(publisher, parts: list[bytes]) -> None:
    socket, address = publisher()
    with closing(remote(address)) as stream:
        heard(socket)
        socket.send_multipart(parts)
        socket.send_multipart(message(3))
        assert poll(stream, 2, lambda: stream.malformed) == [(0, 3)]
        assert stream.malformed == 1


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1", "ftp://127.0.0.1:1"])
def test_an_address_that_cannot_be_used_is_one_line(address: str) -> None:
    with pytest.raises(HostError, match="cannot subscribe there"):
        remote(address)


@pytest.mark.parametrize("kind", [remote, local])
def test_a_message_that_is_too_large_is_counted_not_received_and_good_ones_follow(
    publisher: Callable[[], tuple[zmq.Socket[bytes], str]], segment: Path, kind: Callable[..., Modules]
) -> None:
    socket, address = publisher()
    with closing(kind(segment, address) if kind is local else kind(address)) as stream:
        good = (lambda n: [NOTIFICATION.pack(n)]) if kind is local else message
        heard(socket)
        for n in (1, 2):
            socket.send_multipart(good(n))
            assert poll(stream, 1) == [(0, n)]
            socket.send_multipart([good(9)[0], bytes(2 << 20)])
            # The end of the connection shows that it was not received.
            assert socket.poll(20_000)
            assert socket.recv() == b"\0"
            assert poll(stream, n, lambda: stream.malformed) == []
            heard(socket)
        socket.send_multipart(good(3))
        assert poll(stream, 1) == [(0, 3)]
        assert stream.malformed == 2


def test_a_publisher_that_comes_back_is_followed_without_a_count(
    publisher: Callable[[], tuple[zmq.Socket[bytes], str]],
) -> None:
    socket, address = publisher()
    with closing(remote(address)) as stream:
        heard(socket)
        socket.close(linger=0)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            stream.poll(0.01)
        with zmq.Context() as context, context.socket(zmq.XPUB) as again:
            again.bind(address)
            assert poll(stream, 1, lambda: again.poll(0)) == []
            heard(again)
            again.send_multipart(message(4))
            assert poll(stream, 1) == [(0, 4)]
            assert stream.malformed == 0
