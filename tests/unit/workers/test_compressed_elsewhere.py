"""Images wait for their compression elsewhere, in order, and never for long."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from detectors.assembly.sync import Matched
from detectors.errors import CommandError
from detectors.image_head import ImageHead
from detectors.sources.compressed_images import TakenImage
from detectors.wire.array10 import ImageHeader
from detectors.workers import compressed_elsewhere
from detectors.workers.compressed_elsewhere import CompressedElsewhere
from detectors.workers.wake import Wake

HEADER = ImageHeader(ImageHead(5, 50, 1, is_good_frame=True, present=3, timestamp_ns=7), "JF", "uint16", (4, 6))


class FakeSource:
    """Compressed images that the test announces."""

    def __init__(self) -> None:
        self.asks, self.is_there, self.last = False, True, -1
        self.images: dict[int, ImageHeader] = {}
        self.descriptors: tuple[int, ...] = ()

    def ask(self, *, on: bool) -> None:
        self.asks = on

    def announced(self) -> int:
        return self.last

    def take(self, pulse_id: int, out: np.ndarray) -> TakenImage | None:
        header = self.images.get(pulse_id)
        return TakenImage(replace(header, compression="bslz4"), out[:9]) if header else None

    def close(self) -> None:
        self.asks = False


class FakeAssembler:
    """Knows the header of the image that is in step."""

    def __init__(self, header: ImageHeader | None) -> None:
        self.header = header

    def assemble(self, matched: Matched, out: np.ndarray | None) -> ImageHeader | None:
        assert out is None
        return self.header


class Bench:
    def __init__(self, wake: Wake) -> None:
        self.source, self.now = FakeSource(), 100.0
        self.elsewhere = CompressedElsewhere(self.source, 4)  # type: ignore[arg-type]
        self.elsewhere.ask(wake, on=True)
        self.wake = wake

    def ready(self, *pulses: int) -> list[int]:
        return [one.pulse_id for one in self.elsewhere.ready(Matched(pulse, 3) for pulse in pulses)]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    wake = Wake()
    bench = Bench(wake)
    monkeypatch.setattr(compressed_elsewhere.time, "monotonic", lambda: bench.now)
    yield bench
    wake.close()


def test_an_image_waits_until_it_is_announced(bench: Bench) -> None:
    assert bench.ready(1, 2) == []
    assert bench.elsewhere.waits
    bench.source.last = 1
    assert bench.ready(3) == [1]
    bench.source.last = 3  # 2 was left out by the compressor
    assert bench.ready() == [2, 3]
    assert not bench.elsewhere.waits


def test_one_that_waited_in_vain_is_the_last_until_another_is_announced(bench: Bench) -> None:
    assert bench.ready(1) == []
    bench.now += 0.3
    assert bench.ready(2) == [1, 2]
    assert bench.ready(3) == [3]
    bench.source.last = 3
    assert bench.ready(4) == []
    bench.source.last = 4
    assert bench.ready() == [4]


def test_nothing_waits_for_a_stream_that_does_not_run(bench: Bench) -> None:
    bench.source.is_there = False
    assert bench.ready(1, 2) == [1, 2]


def test_no_more_wait_than_there_is_memory_for(bench: Bench) -> None:
    assert bench.ready(*range(1, 8)) == [1, 2, 3]
    assert bench.ready() == []


def test_nothing_waits_when_nothing_is_asked_for(bench: Bench) -> None:
    assert bench.ready(1) == []
    bench.elsewhere.ask(bench.wake, on=False)
    assert bench.ready(2) == [1, 2]
    assert bench.elsewhere.take(Matched(5, 3), FakeAssembler(HEADER), np.empty(9, np.uint8)) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stored", "taken"),
    [
        (HEADER, 9),
        (replace(HEADER, head=HEADER.head._replace(present=1)), 0),
        (replace(HEADER, head=HEADER.head._replace(frame_index=51)), 0),
        (replace(HEADER, head=HEADER.head._replace(timestamp_ns=8)), 0),
        (replace(HEADER, shape=(6, 4)), 0),
        (replace(HEADER, dtype="int16"), 0),
        (None, 0),
    ],
)
def test_only_the_same_image_is_taken(bench: Bench, stored: ImageHeader | None, taken: int) -> None:
    if stored:
        bench.source.images[5] = stored
    found = replace(HEADER, head=HEADER.head._replace(missing=(bytes(64),)))
    assert bench.elsewhere.take(Matched(5, 3), FakeAssembler(found), np.empty(20, np.uint8)) == taken  # type: ignore[arg-type]
    assert bench.elsewhere.taken == (taken > 0)


def test_an_image_that_was_overwritten_is_not_taken(bench: Bench) -> None:
    bench.source.images[5] = HEADER
    assert bench.elsewhere.take(Matched(5, 3), FakeAssembler(None), np.empty(20, np.uint8)) == 0  # type: ignore[arg-type]


def test_a_command_is_carried_out_after_the_images_before_it(bench: Bench) -> None:
    done: list[str] = []
    command = bench.elsewhere.in_turn(lambda word: done.append(word) or word)
    assert command(word="a") == "a"  # nothing waits
    assert bench.ready(1) == []
    answer = command(word="b")
    assert isinstance(answer, Future)
    assert bench.ready(2) == []
    assert done == ["a"]
    bench.source.last = 1
    assert bench.ready() == [1]
    assert (done, answer.result(0)) == (["a", "b"], "b")
    bench.source.last = 2
    assert bench.ready() == [2]


def test_the_answer_of_a_command_is_passed_on(bench: Bench) -> None:
    def refuse() -> None:
        raise CommandError("no")

    later: Future[str] = Future()
    bench.ready(1)
    refused, passed, cancelled = (bench.elsewhere.in_turn(f)() for f in (refuse, lambda: later, lambda: later))
    assert cancelled.cancel()
    bench.source.last = 1
    assert bench.ready() == [1]
    with pytest.raises(CommandError, match="no"):
        refused.result(0)
    assert not passed.done()
    later.set_result("yes")
    assert passed.result(0) == "yes"
