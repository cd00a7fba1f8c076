"""The rules between a source and its sink, without a network."""

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import HostError, WireError
from detectors.sources.delivery import Delivery
from detectors.sources.image_sink import Description
from detectors.sources.pvspec import parse_pv_spec
from detectors.wire.ntndarray import ArrayHead, plain_value
from tests.support.recording_sink import RecordingSink


def delivery(sink: RecordingSink, spec: str = "CAM", when_full: str = "drop") -> Delivery:
    return Delivery(sink, parse_pv_spec(spec, "det"), when_full, threading.Event(), threading.Event())


def head_of(pixels: np.ndarray, codec: str = "") -> ArrayHead:
    return ArrayHead(pixels.shape, pixels.dtype, pixels.nbytes, codec)


def give(to: Delivery, pixels: np.ndarray, codec: str = "") -> None:
    to.array(pixels.reshape(-1).view(np.uint8), head_of(pixels, codec))


@given(
    st.lists(st.sampled_from(["image", "other shape", "other type", "bad", "zero", "empty", "lost"]), max_size=30),
    st.none() | st.integers(0, 10),
)
def test_every_update_has_one_fate_and_every_slot_an_end(script: list[str], room: int | None) -> None:
    sink = RecordingSink(room)
    to = delivery(sink)
    updates = 0
    for step in script:
        updates += step != "lost"
        if step == "lost":
            to.disconnected("gone")
        elif step == "empty":
            sink.empty()
        else:
            shape = {"other shape": (4, 2), "zero": (0, 2)}.get(step, (2, 4))
            give(to, np.ones(shape, np.int32 if step == "other type" else np.uint32), "lz4" if step == "bad" else "")
    kinds = sink.kinds()
    assert sum(kinds.count(k) for k in ("update", "dropped", "bad", "empty")) == updates
    assert sink.faults == []
    assert not any(a == b == "disconnected" for a, b in itertools.pairwise(kinds))
    known = None
    for event in sink.events:
        if event[0] == "connected":
            known = event[1]
        elif event[0] == "disconnected":
            known = None
        elif event[0] == "update":
            assert isinstance(known, Description)
            assert (known.shape, known.dtype) == (event[1].shape, event[1].dtype)


class RefusingSink(RecordingSink):
    def connected(self, description: Description) -> None:
        super().connected(description)
        if description.payload_bytes > 8:
            raise HostError("too large")


def test_what_the_sink_refuses_is_dropped_until_it_changes() -> None:
    sink = RefusingSink()
    to = delivery(sink)
    for count in (4, 4, 2):
        give(to, np.ones(count, np.uint32))
    assert sink.kinds() == ["connected", "dropped", "dropped", "connected", "update"]


def test_an_array_is_delivered_again_from_the_slot_that_has_it() -> None:
    sink = RecordingSink()
    to = delivery(sink)
    first, second = np.arange(4, dtype=np.uint8), np.arange(4, 8, dtype=np.uint8)
    give(to, first)
    assert to.again(head_of(first))
    give(to, second)
    assert to.again(head_of(second))
    assert sink.kinds() == ["connected"] + ["update"] * 4
    for (_, pixels), expected in zip(sink.of("update"), (first, first, second, second), strict=True):
        np.testing.assert_array_equal(pixels, expected)


def test_an_array_that_got_no_slot_is_not_delivered_again() -> None:
    sink = RecordingSink(room=1)
    to = delivery(sink)
    for value in (1, 2):
        give(to, np.full(4, value, np.uint8))
    head = head_of(np.zeros(4, np.uint8))
    assert to.again(head)
    assert sink.kinds() == ["connected", "update", "dropped", "dropped"]
    sink.room = 1
    assert not to.again(head)
    assert sink.kinds()[4:] == ["abandon"]
    assert sink.faults == []


def test_a_held_delivery_asks_again_and_keeps_its_connection_alive() -> None:
    sink = RecordingSink(room=0)
    to = delivery(sink, when_full="hold")
    asked = []

    def idle() -> None:
        asked.append(1)
        if len(asked) == 3:
            sink.room = 1

    to.idle = idle
    give(to, np.ones(4, np.uint8))
    assert sink.kinds() == ["connected", "update"]
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, np.int64(5)),
        (2.5, np.float64(2.5)),
        (True, np.uint8(1)),
        (np.int16(-4), np.int16(-4)),
        ({"index": 2, "choices": []}, np.int32(2)),
        ({"index": 1, "choices": ["no", "yes"]}, np.int32(1)),
        (np.array([1, 2], ">u2"), np.array([1, 2], np.uint16)),
        (np.array([True, False]), np.array([1, 0], np.uint8)),
        ("äb", np.frombuffer("äb".encode().ljust(256, b"\0"), np.uint8)),
    ],
)
def test_plain_values(value: object, expected: np.ndarray) -> None:
    data, head = plain_value(value, {}, "PV")
    assert data is not None
    assert head is not None
    assert (head.dtype, head.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(data.view(head.dtype).reshape(head.shape), expected)


def test_the_choice_of_an_enum_as_text() -> None:
    mode: dict[str, object] = {"index": 1, "choices": ["no", "yes"]}
    data, head = plain_value(mode, {}, "PV", as_text=True)
    assert data is not None
    assert head is not None
    assert data.tobytes() == b"yes".ljust(256, b"\0")
    for wrong in (2, -1):
        with pytest.raises(WireError, match=f"PV: found choice {wrong}, expected one of 2"):
            plain_value(mode | {"index": wrong}, {}, "PV", as_text=True)


@pytest.mark.parametrize("value", [None, np.zeros(0)])
def test_nothing(value: object) -> None:
    assert plain_value(value, {}, "PV") == (None, None)


@pytest.mark.parametrize("value", [["a"], {"a": 1}, "x" * 257, np.array(["a"]), object()])
def test_no_image(value: object) -> None:
    with pytest.raises(WireError, match="PV: found"):
        plain_value(value, {}, "PV")
