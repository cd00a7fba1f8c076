"""The CA source against a caproto server."""

import logging
import time
from contextlib import AbstractContextManager

import numpy as np
import pytest

from detectors.sources.image_source import open_source
from detectors.sources.pvspec import parse_pv_spec
from sim.console import Console
from tests.support.images import image
from tests.support.recording_sink import RecordingSink, watching

SERVER = "tests.support.ca_server"


@pytest.fixture(autouse=True)
def quiet(own_epics: dict[str, str]) -> None:
    logging.getLogger("caproto").setLevel(logging.CRITICAL)


def watch(text: str, *, room: int | None = None) -> AbstractContextManager[RecordingSink]:
    source = open_source(parse_pv_spec(text, "cam"), client="auto", direct_above=1, when_full="drop")
    assert source.name == "ca"
    return watching(source, room)


def test_a_waveform_as_an_image() -> None:
    with Console(SERVER, "X:") as server, watch("ca/X:Wave") as sink:
        sink.wait_for("update")  # of one element
        for seed in (1, 2):
            server.ask("write", record="wave", dtype="int32", count=1200, seed=seed)
            sink.wait_for("update", 1 + seed)
    assert [d.shape for (d,) in sink.of("connected")][-1] == (1200,)
    for seed, (update, data) in enumerate(sink.of("update")[1:], 1):
        np.testing.assert_array_equal(data, image("int32", (1200,), seed))
        assert update.unique_id is None


def test_time_is_posix() -> None:
    with Console(SERVER, "X:") as server, watch("ca/X:Number") as sink:
        sink.wait_for("update")
        before = time.time_ns()
        server.ask("write", record="number", value=2.5)
        sink.wait_for("update", 2)
    update, data = sink.of("update")[-1]
    assert data == np.float64(2.5)
    assert update.shape == ()
    assert before - 2e9 < update.timestamp_ns < time.time_ns() + 2e9


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("Choice", np.int32(1)),
        ("Choice(string)", np.frombuffer(b"yes".ljust(256, b"\0"), np.uint8)),
        ("Text", np.frombuffer(b"ready".ljust(256, b"\0"), np.uint8)),
        ("Shorts", np.zeros(1, np.int16)),
    ],
)
def test_other_values(record: str, expected: np.ndarray) -> None:
    with Console(SERVER, "X:"), watch(f"ca/X:{record}") as sink:
        sink.wait_for("update")
    update, data = sink.of("update")[0]
    np.testing.assert_array_equal(data, expected)
    assert (update.dtype, update.shape) == (expected.dtype.name, expected.shape)


# caproto closes its socket before its thread that searches has ended.
@pytest.mark.filterwarnings("ignore:Exception in thread retry:pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.long
def test_a_killed_server_is_found_again() -> None:
    with watch("ca/X:Number") as sink:
        for life in range(2):
            with Console(SERVER, "X:") as server:
                sink.wait_for("update", life + 1, timeout_s=30)
                server.kill()
            sink.wait_for("disconnected", life + 1)
    told = [kind for kind in sink.kinds() if kind != "disconnected"]
    assert told == ["connected", "update"] * 2


def test_without_room_updates_are_dropped_and_counted() -> None:
    with Console(SERVER, "X:") as server, watch("ca/X:Number", room=1) as sink:
        sink.wait_for("update")
        for value in range(3):
            server.ask("write", record="number", value=float(value))
            sink.wait_for("dropped", value + 1)
    assert len(sink.of("update")) == 1
