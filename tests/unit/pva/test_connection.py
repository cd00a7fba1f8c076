"""The connection as a whole, fed in pieces: a server's side of a conversation made by the tests' own encoder."""

import contextlib
import logging
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.pva.connection import (
    ArrayBegins,
    Introspected,
    MonitorConnection,
    SearchConnection,
    Updated,
)
from detectors.pva.encoding import PvaError
from detectors.pva.messages import Found, parse_search_datagram, search_request
from sim.pva_encode import NTNDARRAY, Encoder, ntndarray
from tests.support.pva_talk import Talk

PLAIN = ("struct", "epics:nt/NTScalar:1.0", {"value": "string", "n": "int"})


def feed(
    connection: MonitorConnection | SearchConnection, data: bytes, pieces: random.Random, *, skip: bool = False
) -> list:
    """Give the connection ``data`` in pieces of random sizes; arrays come back as bytes (None where skipped)."""
    events: list = []
    memory: bytearray | None = None
    at = 0
    while True:
        event = connection.next_event()
        if isinstance(event, ArrayBegins):
            memory = None if skip else bytearray(event.nbytes)
            connection.stream.supply(None if memory is None else memoryview(memory))
        elif isinstance(event, Updated):
            events.append((event, memory if event.array is not None else None))
        elif event is not None:
            events.append(event)
        elif at == len(data):
            return events
        else:
            wanted = connection.stream.want()
            assert wanted
            assert all(w.nbytes for w in wanted)
            take = min(len(data) - at, sum(w.nbytes for w in wanted), pieces.choice([1, 7, 64, 1000, 1 << 20]))
            left = data[at : at + take]
            for part in wanted:
                part[: len(left)] = left[: part.nbytes]
                left = left[part.nbytes :]
            connection.stream.received(take)
            at += take


PIECES = st.integers(0, 2**32).map(random.Random)
SEGMENTS = st.sampled_from([0, 1, 5, 100, 5000])


@given(PIECES, st.booleans(), SEGMENTS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_images_come_whole_however_they_are_cut(pieces: random.Random, big: bool, segment: int, skip: bool) -> None:
    talk = Talk(big=big, segment=segment)
    pixels = [np.arange(n * 7, dtype=np.uint32).reshape(n, 7) * 77 + i for i, n in enumerate((1, 300, 300, 3))]
    data = talk.opening()
    for number, image in enumerate(pixels):
        data += talk.update(NTNDARRAY, ntndarray(image, number, {"n": number}))
        data += talk.message(2, b"echo")
    connection = MonitorConnection("PV", "me", "here")
    events = feed(connection, data, pieces, skip=skip)
    assert isinstance(events[0], Introspected)
    assert events[0].streamed
    assert len(events) == 1 + len(pixels)
    for number, (image, (update, memory)) in enumerate(zip(pixels, events[1:], strict=True)):
        assert update.array.name == "uintValue"
        assert update.fields["uniqueId"] == number
        assert update.fields["attribute"][0]["value"] == number
        if not skip:
            np.testing.assert_array_equal(np.frombuffer(memory, update.array.dtype).reshape(image.shape), image)
    assert not connection.stream.mid_message


@given(PIECES, st.booleans(), SEGMENTS)
@settings(max_examples=40, deadline=None)
def test_other_structures_come_as_plain_values(pieces: random.Random, big: bool, segment: int) -> None:
    talk = Talk(big=big, segment=segment)
    data = talk.opening(PLAIN) + talk.update(PLAIN, {"value": "x", "n": 5})
    introspected, (update, memory) = feed(MonitorConnection("PV", "me", "here"), data, pieces)
    assert not introspected.streamed
    assert update.fields == {"value": "x", "n": 5}
    assert (update.array, memory) == (None, None)


@given(PIECES, st.booleans(), SEGMENTS, st.data())
@settings(max_examples=300, deadline=None)
def test_damage_is_a_wire_error_and_nothing_else(
    pieces: random.Random, big: bool, segment: int, data: st.DataObject
) -> None:
    talk = Talk(big=big, segment=segment)
    whole = bytearray(talk.opening() + talk.update(NTNDARRAY, ntndarray(np.arange(50, dtype=np.int16), 3, {"a": 1})))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    connection = BoundedConnection("PV", "me", "here")
    with contextlib.suppress(PvaError, TooLargeError):
        feed(connection, bytes(whole), pieces)


class TooLargeError(Exception):
    """A corrupted size asks for more than the test wants to give: what the real client allocates lazily."""


class BoundedConnection(MonitorConnection):
    def next_event(self):
        event = super().next_event()
        if isinstance(event, ArrayBegins) and event.nbytes > 1 << 20:
            raise TooLargeError
        return event


@given(st.binary(max_size=500), PIECES)
@settings(max_examples=300, deadline=None)
def test_noise_behind_the_opening(noise: bytes, pieces: random.Random) -> None:
    talk = Talk()
    with contextlib.suppress(PvaError, TooLargeError):
        feed(BoundedConnection("PV", "me", "here"), talk.opening() + b"\xca\x02\x40\x0d" + noise, pieces)


def converse(*messages: bytes) -> list:
    return feed(MonitorConnection("PV", "me", "here"), b"".join(messages), random.Random(1))


def test_refusals_say_why() -> None:
    talk = Talk()
    e = talk.e
    error = b"\2" + e.string("no beam") + e.string("")
    for said, reason in (
        (
            talk.greeting() + talk.message(7, e.pack("II", 1, 0) + error),
            "^the server did not create the channel: no beam$",
        ),
        (talk.header(2, 0, 1) + talk.message(9, error), "^the server did not let me in: no beam$"),
        (talk.opening() + talk.message(13, e.pack("IB", 1, 0x10) + b"\xff"), "subscription"),
        (talk.opening() + talk.message(8, e.pack("II", 5, 1)), "closed"),
    ):
        with pytest.raises(PvaError, match=reason):
            converse(said)


def test_a_message_of_the_server_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk()
    with caplog.at_level(logging.INFO):
        assert converse(talk.greeting(), talk.message(18, talk.e.pack("IB", 1, 1) + talk.e.string("hello"))) == []
    assert caplog.messages == ["PV: the server says: hello"]


def test_what_we_say() -> None:
    talk = Talk(big=True)
    connection = MonitorConnection("PV", "me", "here")
    feed(connection, talk.opening(), random.Random(1))
    said = connection.outgoing()
    assert said[:4] == b"\xca\x02\x80\x01"
    for word in (b"\x02ca", b"\x04user", b"\x02me", b"\x04here", b"\x02PV", b"\x09queueSize", b"\x018"):
        assert word in said
    assert connection.outgoing() == b""
    connection.start_monitor()
    assert connection.outgoing() == bytes.fromhex("ca02800d00000009 00000005 00000001 44")
    connection.send_goodbye()
    assert connection.outgoing() == bytes.fromhex(
        "ca02800f00000008 00000005 00000001 ca02800800000008 00000005 00000001"
    )


def test_without_a_name_we_are_anonymous() -> None:
    connection = MonitorConnection("PV", "", "here")
    feed(connection, Talk().greeting(), random.Random(1))
    assert b"\x09anonymous\xff" in connection.outgoing()


def test_an_unselected_union_and_an_empty_array_begin_nothing() -> None:
    talk = Talk()
    events = converse(
        talk.opening(),
        talk.update(NTNDARRAY, ntndarray(None, 1)),
        talk.update(NTNDARRAY, ntndarray(np.zeros((0, 4), np.uint8), 2)),
    )
    assert [update.array for update, _ in events[1:]] == [None, None]
    assert [update.fields["uniqueId"] for update, _ in events[1:]] == [1, 2]


@pytest.mark.parametrize(
    ("behind", "match"),
    [
        (Talk().message(13, bytes(20)), "request 0"),
        (Talk().header(13, 17 << 20) + b"\1\0\0\0\0\1\4" + bytes(3000), "without an array"),
        (Talk().header(13, 30) + b"\1\0\0\0\0\1\2\5\xc8" + bytes(40), "in a message of 30"),
        (Talk().header(13, 30, 0x30), "the middle of a message"),
        (Talk().header(13, 2, 0x10) + b"\1\0" + Talk().header(13, 2, 0x10), "another message"),
        (
            Talk(segment=30).update(NTNDARRAY, ntndarray(np.zeros(500, np.uint8), 1))[:84] + Talk().header(13, 0, 0x20),
            "middle of its array",
        ),
        (Talk().message(13, b"\1\0\0\0\0\1\2\x0b\1"), "member 11"),
        (Talk().message(13, b"\1\0\0\0\0\1\2\3\xfe\xff\xff\xff\x70"), "at most"),
        (b"\xcb" + bytes(16), "where a message starts"),
    ],
)
def test_lies(behind: bytes, match: str) -> None:
    with pytest.raises(PvaError, match=match):
        converse(Talk().opening(), behind)


def test_supplying_is_checked() -> None:
    connection = MonitorConnection("PV", "me", "here")
    with pytest.raises(RuntimeError):
        connection.stream.supply(None)


def answer(e: Encoder, found: bool = True, address: bytes = bytes(16), ids: tuple[int, ...] = (1,)) -> bytes:
    body = b"g" * 12 + e.pack("I", 1) + address + e.pack("H", 5075) + e.string("tcp") + (b"\1" if found else b"\0")
    return body + e.pack("H", len(ids)) + b"".join(e.pack("I", i) for i in ids)


@pytest.mark.parametrize("big", [False, True])
def test_search_answers(big: bool) -> None:
    talk = Talk(big=big)
    mapped = bytes(10) + b"\xff\xff\x0a\x00\x00\x07"
    cases = {
        answer(talk.e): Found("", 5075),
        answer(talk.e, address=mapped): Found("10.0.0.7", 5075),
        answer(talk.e, ids=(4, 1)): Found("", 5075),
        answer(talk.e, found=False): None,
        answer(talk.e, ids=(2,)): None,
    }
    for body, expected in cases.items():
        assert parse_search_datagram(talk.message(4, body)) == expected
    assert parse_search_datagram(talk.message(0, b"beacon")) is None
    assert feed(
        SearchConnection("PV", "me", "here"), talk.greeting() + talk.message(4, answer(talk.e)), random.Random(2)
    ) == [Found("", 5075)]


@given(st.binary(max_size=100) | st.binary(max_size=80).map(lambda b: b"\xca\x02\x40\x04" + b))
def test_search_noise(noise: bytes) -> None:
    with contextlib.suppress(PvaError):
        parse_search_datagram(noise)


def test_a_search_request() -> None:
    request = search_request(3, "CAM:Image", 4000, unicast=True)
    assert (
        request
        == bytes.fromhex("ca020003 2f000000 03000000 80 000000" + "00" * 16 + "a00f 01 03746370 0100 01000000 09")
        + b"CAM:Image"
    )


def test_closing_releases_the_memory_of_an_unfinished_array() -> None:
    talk = Talk()
    update = talk.update(NTNDARRAY, ntndarray(np.zeros(5000, np.uint8), 1))
    connection = MonitorConnection("PV", "me", "here")
    feed(connection, talk.opening(), random.Random(1))
    connection.stream.want()[0][:3000] = update[:3000]
    connection.stream.received(3000)
    assert isinstance(connection.next_event(), ArrayBegins)
    memory = bytearray(5000)
    connection.stream.supply(memoryview(memory))
    assert connection.next_event() is None
    connection.stream.close()
    memory.clear()  # BufferError while a view of it exists
