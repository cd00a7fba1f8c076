import threading

import pytest

from detectors.buffer.image import Image
from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError
from detectors.replay.play import replay
from tests.unit.buffer.make import RawBuffer


class Recorder:
    """A target that keeps what it was given."""

    def __init__(self, ended: threading.Event | None = None, after: int = 0) -> None:
        self.sent: list[tuple[int, list[bool]]] = []
        self.was_ready = False
        self._ended, self._after = ended, after

    def ready(self) -> None:
        self.was_ready = True

    def send(self, image: Image, period_s: float) -> int:
        assert self.was_ready
        self.sent.append((image.pulse_id, [frame is not None for frame in image.frames]))
        if self._ended and len(self.sent) == self._after:
            self._ended.set()
        return 10

    def close(self) -> None: ...


@pytest.fixture
def raw(tmp_path) -> RawBuffer:
    return RawBuffer(tmp_path / "JF").fill((998, 999, 1000, 1004, 1005), lacking=(("M00", 1004),))


def test_every_recorded_pulse_is_sent_in_order(raw):
    target = Recorder()
    report = replay(BufferReader(raw.folder), target, start=0, stop=5000)
    both = [True, True]
    assert target.sent == [(998, both), (999, both), (1000, both), (1004, [False, True]), (1005, both)]
    assert (report.pulses, report.frames, report.messages) == (5, 9, 50)
    assert (report.unreadable, report.late) == (0, 0)


@pytest.mark.parametrize(
    ("start", "stop", "step", "expected"),
    [(999, 1004, 1, [999, 1000, 1004]), (998, 1005, 2, [998, 1000, 1004]), (1005, 1005, 1, [1005])],
)
def test_only_the_range(raw, start, stop, step, expected):
    target = Recorder()
    replay(BufferReader(raw.folder), target, start=start, stop=stop, step=step, rate_hz=1e6)
    assert [pulse for pulse, _ in target.sent] == expected


def test_a_torn_pulse_is_passed_over_and_counted(raw):
    for module in raw.modules:
        raw.poke(raw.path(module, 1000), 1, b"\x77")
    target = Recorder()
    report = replay(BufferReader(raw.folder), target, start=999, stop=1004)
    assert [pulse for pulse, _ in target.sent] == [999, 1004]
    assert (report.pulses, report.unreadable) == (2, 1)


@pytest.mark.parametrize("offset", [0, 1])  # the marker, the pulse_id
def test_a_torn_frame_is_named_and_counted(raw, caplog, offset):
    raw.poke(raw.path("M01", 1000), offset, b"\x77")
    raw.poke(raw.path("M01", 1004), 4 * raw.record_bytes + offset, b"\x77")
    target = Recorder()
    report = replay(BufferReader(raw.folder), target, start=999, stop=1005)
    assert target.sent == [(999, [True, True]), (1000, [True, False]), (1005, [True, True])]
    assert (report.pulses, report.frames, report.torn, report.unreadable) == (3, 5, 1, 1)
    assert sum("torn record of pulse 1000" in record.message for record in caplog.records) == 1


def test_it_ends_between_two_pulses(raw):
    ended = threading.Event()
    target = Recorder(ended, after=2)
    report = replay(BufferReader(raw.folder), target, start=0, stop=5000, rate_hz=1000, ended=ended)
    assert report.pulses == len(target.sent) == 2


def test_a_range_without_pulses_says_what_there_is(raw):
    with pytest.raises(
        BufferReadError, match=r"found no pulse from 5 to 9, .* M00 holds 998 to 1005; M01 holds 998 to"
    ):
        replay(BufferReader(raw.folder), Recorder(), start=5, stop=9)


@pytest.mark.timeout(20)
def test_a_jump_of_the_pulse_ids_takes_no_time(raw):
    raw.put("M00", (1 << 40) + 7)
    target, seen = Recorder(), []
    replay(BufferReader(raw.folder), target, start=0, stop=(1 << 63) - 1, progress=lambda *done: seen.append(done))
    assert [pulse for pulse, _ in target.sent] == [998, 999, 1000, 1004, 1005, (1 << 40) + 7]
    assert seen == [(n, 6) for n in range(6)]
