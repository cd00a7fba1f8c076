"""Both PVA clients against a pvxs server (p4p): what arrives is what was sent."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest

from detectors.sources.image_source import open_source
from detectors.sources.pvspec import parse_pv_spec
from sim.console import Console
from tests.support.images import UNION_MEMBERS, image, memory
from tests.support.recording_sink import RecordingSink, watching

SERVER = "tests.support.p4p_server"
PV = "CAM:Image"

pytestmark = pytest.mark.usefixtures("own_epics")


@pytest.fixture(params=["direct", "p4p"])
def client(request: pytest.FixtureRequest) -> str:
    return request.param


def watch(
    text: str, client: str, *, room: int | None = None, when_full: str = "drop"
) -> AbstractContextManager[RecordingSink]:
    source = open_source(parse_pv_spec(text, "cam"), client=client, direct_above=256 << 10, when_full=when_full)
    return watching(source, room)


def story(sink: RecordingSink) -> list[str]:
    """What was told, but for slots that were given back: only our client asks for one before it knows the shape."""
    return [kind for kind in sink.kinds() if kind != "abandon"]


def test_an_image_and_its_head(client: str) -> None:
    with Console(SERVER, PV) as camera, watch(PV, client) as sink:
        sink.wait_for("empty")
        camera.ask("post", unique_id=7, shape=[3, 4], attributes={"ColorMode": 0, "gain": 1.5, "who": "me"})
        sink.wait_for("update")
    assert sink.kinds() == ["empty", "connected", "update"]
    update, data = sink.of("update")[0]
    np.testing.assert_array_equal(data, image("uint16", (3, 4), 7))
    assert (update.unique_id, update.shape, update.dtype, update.nbytes) == (7, (3, 4), "uint16", 24)
    assert update.timestamp_ns == 1_700_000_000_000_000_005
    assert update.attributes == {"ColorMode": 0, "gain": 1.5, "who": "me"}


def test_all_types_of_pixels(client: str) -> None:
    with Console(SERVER, PV) as camera, watch(PV, client) as sink:
        sink.wait_for("empty")
        for number, dtype in enumerate(UNION_MEMBERS):
            camera.ask("post", unique_id=number, dtype=dtype, shape=[5, 7])
            sink.wait_for("update", number + 1)
    for number, (dtype, (update, data)) in enumerate(zip(UNION_MEMBERS, sink.of("update"), strict=True)):
        expected = memory(image(dtype, (5, 7), number))
        assert update.dtype == expected.dtype.name
        np.testing.assert_array_equal(data, expected)
    assert len(sink.of("connected")) == len(UNION_MEMBERS)


@pytest.mark.long
@pytest.mark.parametrize("codec", ["blosc", "lz4", "lz4+h5", "bslz4", "bslz4+h5", "zlib", "jpeg"])
def test_compressed_images(client: str, codec: str) -> None:
    dtype = "uint8" if codec == "jpeg" else "uint16"
    with Console(SERVER, PV) as camera, watch(PV, client) as sink:
        sink.wait_for("empty")
        for unique_id in range(3):
            camera.ask("post", unique_id=unique_id, dtype=dtype, shape=[50, 61], codec=codec)
            sink.wait_for("update", unique_id + 1)
    assert [d.codec for (d,) in sink.of("connected")] == [codec.partition("+")[0]]
    for unique_id, (_, data) in enumerate(sink.of("update")):
        if codec != "jpeg":
            np.testing.assert_array_equal(data, image(dtype, (50, 61), unique_id))


def test_a_changed_payload_is_announced_before_its_first_image(client: str) -> None:
    shapes = [[4, 6], [6, 4], [2, 3, 4], [8, 8]]
    with Console(SERVER, PV) as camera, watch(PV, client) as sink:
        sink.wait_for("empty")
        for unique_id, shape in enumerate(shapes):
            for again in range(2):
                camera.ask("post", unique_id=2 * unique_id + again, shape=shape)
                sink.wait_for("update", 2 * unique_id + again + 1)
    assert story(sink) == ["empty"] + ["connected", "update", "update"] * len(shapes)
    assert [list(d.shape) for (d,) in sink.of("connected")] == shapes


def test_what_cannot_be_decoded_is_counted_and_skipped(client: str) -> None:
    with Console(SERVER, PV) as camera, watch(PV, client) as sink:
        sink.wait_for("empty")
        posts = [
            {"codec": "lz4"},
            {"codec": "lz4", "blob": "00112233"},
            {"codec": "lz4"},
            {"blob": "001122"},  # three bytes are not the dimensions'
            {"codec": "bslz4", "blob": "ffffffff" * 20},
            {},
        ]
        for unique_id, post in enumerate(posts):
            camera.ask("post", unique_id=unique_id, shape=[50, 61], **post)
            sink.wait(lambda s, n=unique_id: s.kinds().count("update") + s.kinds().count("bad") == n + 1)
        camera.ask("only", **{"codec.name": "quantum", "codec.parameters": 6, "value": ["ubyteValue", [1, 2, 3]]})
        sink.wait_for("bad", 4)
    assert sink.ids() == [0, 2, 5]
    assert "quantum" in sink.of("bad")[-1][0]


def test_updates_without_an_array_are_empty(client: str) -> None:
    with Console(SERVER, PV) as camera, watch(PV, client) as sink:
        sink.wait_for("empty")
        camera.ask("post", unique_id=1, shape=[3, 4])
        sink.wait_for("update", 1)
        camera.ask("only", **{"alarm.severity": 2})  # nothing new of the image
        sink.wait_for("empty", 2)
        camera.ask("post", unique_id=3, shape=[0, 4])
        sink.wait_for("empty", 3)
        camera.ask("post", unique_id=4, shape=[3, 4])
        sink.wait_for("update", 2)
    assert sink.ids() == [1, 4]


@pytest.mark.parametrize("codec", ["", "lz4"])
def test_unchanged_pixels_come_again_with_the_new_id_and_time(client: str, codec: str) -> None:
    with Console(SERVER, PV) as camera, watch(PV, client) as sink:
        sink.wait_for("empty")
        for count, unique_id in enumerate((1, 2, 4), 1):
            if unique_id == 2:
                camera.ask("only", **{"uniqueId": 2, "timeStamp.secondsPastEpoch": 77})
            else:
                camera.ask("post", unique_id=unique_id, shape=[30, 40], codec=codec)
            sink.wait_for("update", count)
        camera.ask("only", uniqueId=5)
        sink.wait_for("update", 4)
    updates = sink.of("update")
    for (update, data), unique_id, pixels in zip(updates, (1, 2, 4, 5), (1, 1, 4, 4), strict=True):
        assert update.unique_id == unique_id
        np.testing.assert_array_equal(data, image("uint16", (30, 40), pixels))
    assert updates[1][0].timestamp_ns == 77_000_000_005
    assert story(sink) == ["empty", "connected"] + ["update"] * 4


def test_unchanged_pixels_that_were_dropped_are_fetched_again(client: str) -> None:
    with Console(SERVER, PV) as camera, watch(PV, client, room=1) as sink:
        sink.wait_for("empty")
        camera.ask("post", unique_id=1, shape=[30, 40])
        camera.ask("post", unique_id=2, shape=[30, 40])
        sink.wait_for("dropped")
        camera.ask("only", uniqueId=3)
        sink.wait_for("dropped", 2)
        sink.room = 10
        camera.ask("only", uniqueId=4)
        sink.wait_for("update", 2)
        camera.ask("only", uniqueId=5)
        sink.wait_for("update", 3)
    assert sink.ids() == [1, 4, 5]
    for _, data in sink.of("update")[1:]:
        np.testing.assert_array_equal(data, image("uint16", (30, 40), 2))


def test_without_room_images_are_dropped_and_counted(client: str) -> None:
    with Console(SERVER, PV) as camera, watch(PV, client, room=2) as sink:
        sink.wait_for("empty")
        for unique_id in range(6):
            camera.ask("post", unique_id=unique_id, shape=[30, 40], codec="lz4" if unique_id == 4 else "")
            sink.wait(lambda s, n=unique_id: s.kinds().count("update") + s.kinds().count("dropped") == n + 1)
    assert sink.ids() == [0, 1]
    assert [u.unique_id for (u,) in sink.of("dropped")] == [2, 3, 4, 5]


def test_a_held_source_waits_for_room(client: str) -> None:
    with Console(SERVER, PV) as camera, watch(PV, client, room=1, when_full="hold") as sink:
        sink.wait_for("empty")
        for unique_id in range(2):
            camera.ask("post", unique_id=unique_id, shape=[30, 40])
        sink.wait_for("update")
        sink.room = 10
        sink.wait_for("update", 2)
    assert sink.ids() == [0, 1]
    assert sink.of("dropped") == []


@pytest.mark.long
def test_a_server_that_is_killed_is_found_again(client: str) -> None:
    with watch(PV, client) as sink:
        for life, shape in enumerate([[3, 4], [3, 4], [5, 2]]):
            with Console(SERVER, PV, "ntndarray", f'{{"unique_id": {life}, "shape": {shape}}}') as camera:
                sink.wait_for("update", life + 1)
                camera.kill()
            sink.wait_for("disconnected", life + 1)
    assert sink.kinds() == ["connected", "update", "disconnected"] * 3
    assert sink.ids() == [0, 1, 2]


def test_a_channel_that_is_closed_is_found_again(client: str) -> None:
    with Console(SERVER, PV, "ntndarray", '{"unique_id": 1}') as camera, watch(PV, client) as sink:
        sink.wait_for("update")
        camera.ask("reopen", first={"unique_id": 2})
        sink.wait_for("update", 2)
    assert sink.kinds() == ["connected", "update", "disconnected", "connected", "update"]


@pytest.mark.long
def test_a_pv_that_nobody_has_is_reported_and_awaited(client: str) -> None:
    with watch(PV, client) as sink:
        sink.wait_for("disconnected")
        assert "no server answered" in sink.of("disconnected")[0][0]
        with Console(SERVER, PV, "ntndarray", '{"unique_id": 1}'):
            sink.wait_for("update", timeout_s=25)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "posts", "expected"),
    [
        ("double", [{"value": 1.5}], np.float64(1.5)),
        ("short", [{"value": -3}], np.int16(-3)),
        ("enum", [{"value": {"index": 1, "choices": ["no", "yes"]}}], np.int32(1)),
        ("string", [{"value": "ready"}], np.frombuffer(b"ready".ljust(256, b"\0"), np.uint8)),
        ("array", [{"count": 6, "seed": 3}], image("uint16", (6,), 3)),
    ],
)
def test_plain_values(client: str, kind: str, posts: list[dict], expected: np.ndarray) -> None:
    first = {"array": '{"count": 6, "seed": 1}', "enum": '{"value": {"index": 0, "choices": ["no", "yes"]}}'}
    with Console(SERVER, PV, kind, first.get(kind, "{}")) as server, watch(PV, client) as sink:
        sink.wait_for("update")
        for post in posts:
            server.ask("post", **post)
        sink.wait_for("update", 1 + len(posts))
    update, data = sink.of("update")[-1]
    np.testing.assert_array_equal(data, expected)
    assert (update.dtype, update.shape, update.unique_id) == (expected.dtype.name, expected.shape, None)
    assert update.timestamp_ns == 1_700_000_000_000_000_000


def test_the_choice_of_an_enum_as_text(client: str) -> None:
    first = '{"value": {"index": 1, "choices": ["no", "yes"]}}'
    with Console(SERVER, PV, "enum", first), watch(f"{PV}(string)", client) as sink:
        sink.wait_for("update")
    assert sink.of("update")[0][1].tobytes() == b"yes".ljust(256, b"\0")


def test_texts_are_no_image(client: str) -> None:
    with Console(SERVER, PV, "strings", '{"value": ["a", "b"]}'), watch(PV, client) as sink:
        sink.wait_for("bad")
    assert "expected a number" in sink.of("bad")[0][0]


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (f"{PV}[3,4](uint16)", ""),
        (f"{PV}.uniqueId[1](int32)", ""),
        (f"{PV}.nowhere", "field"),
    ],
)
def test_a_pv_must_be_as_specified(client: str, spec: str, wrong: str) -> None:
    with Console(SERVER, PV, "ntndarray", '{"unique_id": 9}'), watch(spec, client) as sink:
        if wrong:
            sink.wait_for("bad")
            assert wrong in sink.of("bad")[0][0]
            assert sink.of("connected") == []
        else:
            sink.wait_for("update")


@pytest.mark.parametrize("case", ["small", "large"])
def test_auto_takes_our_client_for_large_arrays_only(case: str) -> None:
    shape = {"small": [3, 4], "large": [400, 400]}[case]
    sink = RecordingSink()
    source = open_source(parse_pv_spec(PV, "cam"), client="auto", direct_above=256 << 10, when_full="drop")
    with Console(SERVER, PV, "ntndarray", f'{{"unique_id": 1, "shape": {shape}}}'):
        source.start(sink)
        try:
            sink.wait_for("update")
            assert source.name == {"small": "p4p", "large": "direct"}[case]
        finally:
            source.close()
    assert sink.kinds() == ["connected", "update"]


SCRIPT: list[Callable[[Console, int], object]] = [
    lambda camera, i: camera.ask("post", unique_id=i, shape=[9, 5]),
    lambda camera, i: camera.ask("post", unique_id=i, shape=[9, 5], attributes={"a": i, "b": "x"}),
    lambda camera, i: camera.ask("post", unique_id=i, shape=[5, 9], severity=3),
    lambda camera, i: camera.ask("only", uniqueId=i),
    lambda camera, i: camera.ask("post", unique_id=i, shape=[5, 9], codec="blosc", dtype="float32"),
    lambda camera, i: camera.ask("post", unique_id=i, shape=[5, 9], codec="blosc", dtype="float32"),
    lambda camera, i: camera.ask("post", unique_id=i, shape=[5, 9], codec="zlib", blob="12"),
    lambda camera, i: camera.ask("post", unique_id=i, shape=[1, 1, 1], dtype="int64"),
    lambda camera, i: camera.ask("reopen", first={"unique_id": i, "shape": [2, 2]}),
]


def test_both_clients_tell_the_same_story() -> None:
    with Console(SERVER, PV) as camera, watch(PV, "direct") as ours, watch(PV, "p4p") as theirs:
        ours.wait_for("empty")
        theirs.wait_for("empty")
        for step, act in enumerate(SCRIPT):
            before = [len(s.events) for s in (ours, theirs)]
            act(camera, step + 100)
            for sink, count in zip((ours, theirs), before, strict=True):
                sink.wait(lambda s, n=count: any(k in ("update", "bad", "empty") for k in s.kinds()[n:]))
    assert story(ours) == story(theirs)
    told = [[e for e in sink.events if e[0] != "abandon"] for sink in (ours, theirs)]
    for mine, other in zip(*told, strict=True):
        if mine[0] == "update":
            assert mine[1] == other[1]
            np.testing.assert_array_equal(mine[2], other[2])
        elif mine[0] != "disconnected":
            assert mine == other
