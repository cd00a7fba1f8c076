"""The newest compressed image, and how long one that is not compressed yet waits for it."""

import numpy as np
import pytest

from detectors.image_head import ImageHead
from detectors.sources.compressed_images import TakenImage
from detectors.wire.array10 import ImageHeader
from detectors.wire.bslz4 import CHUNK_HEADER
from detectors.workers.newest_compressed import NewestCompressed


class FakeSource:
    def __init__(self) -> None:
        self.pulse: int | None = None
        self.fresh = True
        self.copies = 0

    def newest(self) -> int | None:
        return self.pulse

    def take(self, pulse_id: int) -> TakenImage | None:
        self.copies += 1
        header = ImageHeader(ImageHead(pulse_id), "JF", "uint16", (2, 3), compression="bslz4")
        return TakenImage(header, np.arange(20, dtype=np.uint8)) if self.fresh else None

    def close(self) -> None: ...


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
def newest(source: FakeSource) -> NewestCompressed:
    return NewestCompressed(source)  # type: ignore[arg-type]


def test_each_image_is_taken_once(source: FakeSource, newest: NewestCompressed) -> None:
    assert not newest.take(1.0)
    source.pulse = 5
    assert newest.take(2.0)
    assert not newest.take(2.1)
    assert source.copies == 1
    header, data = newest.image
    assert header.head == newest.head == ImageHead(5)
    assert data.tolist() == list(range(CHUNK_HEADER.size, 20))
    source.pulse = 6
    assert newest.take(2.2)
    assert (newest.taken, newest.taken_s) == (2, 2.2)


def test_it_is_live_as_long_as_there_are_new_ones(source: FakeSource, newest: NewestCompressed) -> None:
    assert not newest.is_live(0.0)
    source.pulse = 5
    newest.take(1.0)
    assert newest.is_live(2.9)
    assert not newest.take(3.1)
    assert not newest.is_live(3.1)


def test_an_old_one_is_not_taken(source: FakeSource, newest: NewestCompressed) -> None:
    source.pulse, source.fresh = 5, False
    assert not newest.take(1.0)
    assert not newest.is_live(1.0)


def test_after_one_has_waited_in_vain_none_waits_until_another_is_compressed(
    source: FakeSource, newest: NewestCompressed
) -> None:
    assert newest.is_awaited(1.0)
    assert newest.is_awaited(1.2)
    assert not newest.is_awaited(1.3)
    assert not newest.is_awaited(9.0)
    source.pulse = 5
    assert newest.take(10.0)
    assert newest.is_awaited(13.0)
    assert not newest.is_awaited(13.3)
    newest.expect()
    assert newest.is_awaited(14.0)
