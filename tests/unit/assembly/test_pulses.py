"""Pulse ids made of frame numbers and time stamps, and what happens to them when the detector starts afresh."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.assembly.counted_pulses import BASE_STEP, PulseStart, next_base
from detectors.assembly.pulses import PulseTracker
from detectors.frame import Damage
from tests.unit.assembly.packets import Bench, Packet

PERIOD_NS = 1_000_000
TICKS = PERIOD_NS // 100


def stock(b: Bench, index: int, time: int | None = None) -> list[Packet]:
    """Return a frame as stock detectors send it: no bunchid."""
    return [p.but(pulse=0, timestamp=index * TICKS if time is None else time) for p in b.frame(index)]


def pulses(b: Bench) -> list[int]:
    assert not any(done.flagged for done in b.slots.done)
    return [done.pulse_id for done in b.slots.done]


def all_pulses(b: Bench) -> list[int]:
    return [done.pulse_id for done in b.slots.done]


@pytest.mark.parametrize("header", ["jungfrau", "sls", "sls-big-endian"])
@pytest.mark.parametrize("pulse_from", ["framenum", "timestamp"])
def test_a_stock_stream_runs_clean(pulse_from: str, header: str):
    b = Bench(header=header, batch=64, ahead=4, pulse_from=pulse_from, pulse_period_ns=PERIOD_NS)
    b.feed(*(stock(b, i) for i in range(1, 101)))
    assert pulses(b) == list(range(1, 101))
    assert (b.frames.complete, b.frames.resyncs, b.frames.restarts, b.packets.bad_pulse) == (100, 0, 0, 0)


def test_a_stock_stream_says_what_to_set_when_bunch_ids_are_asked_for(caplog: pytest.LogCaptureFixture):
    b = Bench()
    b.feed(stock(b, 1), stock(b, 2))
    assert all_pulses(b) == [1, 2]
    assert (b.packets.bad_pulse, b.slots.done[0].damage) == (16, Damage.BAD_PULSE)
    assert (
        'the packets carry bunchid 0: frame 1 is kept as pulse 1 and flagged; set pulse_from = "framenum"'
        in caplog.text
    )
    assert "bunchid 0" in b.assembler.latest_note


def test_frames_0_and_1_have_pulses_of_their_own():
    b = Bench()
    b.feed(*(b.frame(i, pulse=i) for i in range(5)))
    assert pulses(b) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("values", [[1000, math.nan, 1001, 1002], [77] * 8, [math.nan, 6, 7, 8], [0, 0, 0, 0]])
def test_no_frame_overwrites_another(values: list[float]):
    b = Bench()
    b.feed(*(b.frame(5 + n, pulse=value) for n, value in enumerate(values)))
    b.flush()
    assert len(b.slots.done) == len(values)
    assert len(set(all_pulses(b))) == len(values)


@pytest.mark.parametrize("other_packets", [0, 1])
def test_a_pulse_given_in_place_of_an_unusable_one_is_not_given_again_after_a_jump_back(other_packets: int):
    b = Bench()
    b.feed(b.frame(0, pulse=1000), b.frame(1, pulse=math.nan), b.frame(2, pulse=998), b.frame(3, pulse=999))
    b.feed(b.frame(4, pulse=1000), b.frame(500, pulse=90_000)[:other_packets])
    b.feed(b.frame(5, pulse=1001))
    b.flush()
    assert all_pulses(b) == [1000, 1001, 998, 999, 1000, 1002]
    assert [d.flagged for d in b.slots.done] == [False, True, True, False, False, True]
    assert [row[0] for row in b.slots.done[5].rows] == [p.fill for p in b.frame(5)]


def test_an_older_frame_is_given_the_pulse_that_the_next_one_would_have():
    b = Bench(packets=1, batch=1, ahead=5, reorder_window=3)
    b.feed(*(b.frame(i, pulse) for i, pulse in enumerate((1000, math.nan, math.nan, math.nan, 998, 999, 1000))))
    b.feed(b.frame(10, pulse=math.nan), b.frame(9, pulse=math.nan))
    b.feed(*(b.frame(i, pulse=994 + i) for i in range(11, 16)))
    b.flush()
    assert b.order[-7:] == [9, 10, 11, 12, 13, 14, 15]
    assert all_pulses(b)[-7:] == [1005, 1004, 1006, 1007, 1008, 1009, 1010]
    assert all(d.rows[0][0] == b.frame(d.index)[0].fill for d in b.slots.done)


def test_steps_of_the_detector_are_pulse_steps():
    b = Bench(pulse_from="framenum", pulse_id_step=4)
    b.feed(stock(b, 10), stock(b, 11), stock(b, 13))
    assert pulses(b) == [40, 44, 52]


@pytest.mark.parametrize("pulse_from", ["framenum", "timestamp"])
def test_a_count_that_starts_afresh_goes_on_above(pulse_from: str):
    b = Bench(pulse_from=pulse_from, pulse_period_ns=PERIOD_NS)
    b.feed(*(stock(b, i) for i in range(500, 504)))
    for first in (1, 2):
        b.pause(0.3)
        b.feed(*(stock(b, i) for i in range(first, 4)))
    b.flush()
    assert pulses(b) == [500, 501, 502, 503, *(BASE_STEP + i for i in (1, 2, 3)), *(2 * BASE_STEP + i for i in (2, 3))]
    assert (b.frames.restarts, b.frames.resyncs, b.frames.complete) == (2, 0, 9)
    assert (b.packets.alien, b.packets.duplicate, b.packets.held, b.packets.lost) == (0, 0, 0, 0)


def test_a_count_that_starts_afresh_without_a_pause():
    b = Bench(pulse_from="framenum")
    b.feed(*(stock(b, i) for i in range(500, 504)), *(stock(b, i) for i in range(1, 5)))
    b.flush()
    assert pulses(b) == [500, 501, 502, 503, *range(BASE_STEP + 1, BASE_STEP + 5)]
    assert b.packets.alien == 0
    assert b.assembler.latest_note == "the detector restarted its count, at frame 1 after 503"


def test_single_frames_with_the_same_number():
    b = Bench(pulse_from="framenum")
    for _ in range(5):
        b.feed(stock(b, 1))
        for _ in range(10):
            b.pause(0.05)
    b.flush()
    assert pulses(b) == [1 + n * BASE_STEP for n in range(5)]


def test_a_new_run_goes_on_with_the_count():
    b = Bench(pulse_from="framenum")
    b.feed(stock(b, 7))
    b.close_gate()
    b.feed(stock(b, 8))
    b.open_gate()
    b.feed(stock(b, 9))
    b.open_gate()
    b.feed(stock(b, 3))
    assert pulses(b) == [7, 9, BASE_STEP + 3]


def test_a_gap_is_stepped_over_at_once():
    b = Bench(pulse_from="framenum", max_frame_gap=100)
    b.feed(stock(b, 1), stock(b, 60))
    assert pulses(b) == [1, 60]
    assert (b.frames.empty, b.packets.held) == (58, 0)


def test_a_jump_far_forward_keeps_the_base():
    b = Bench(pulse_from="framenum", max_frame_gap=10)
    b.feed(stock(b, 1), stock(b, 1000), stock(b, 1001))
    assert pulses(b) == [1, 1000, 1001]
    assert (b.frames.resyncs, b.frames.restarts) == (1, 0)


@pytest.mark.parametrize(("elapsed_s", "lost"), [(0.001, 0), (1.0, 998)])
def test_a_long_gap_is_lost_frames_if_the_detector_can_have_counted_so_far(elapsed_s: float, lost: int):
    b = Bench(pulse_from="framenum", max_frame_gap=10)
    b.block.received_ns = 10**18
    b.feed(stock(b, 1))
    b.block.received_ns += int(elapsed_s * 1e9)  # all in one go, as after a stop of the receiver
    b.feed(stock(b, 1000), stock(b, 1001))
    assert pulses(b) == [1, 1000, 1001]
    assert (b.frames.empty, b.frames.resyncs, b.packets.lost) == (lost, not lost, lost * 8)


def test_a_wild_number_does_not_leave_the_numbers_that_records_hold():
    b = Bench(pulse_from="framenum", max_frame_gap=10)
    b.feed(stock(b, 1), stock(b, 2**64 - 2, 0), stock(b, 2**64 - 1, 0))
    assert all_pulses(b) == [1, BASE_STEP, BASE_STEP + 1]


@pytest.mark.parametrize(
    ("start", "frame", "pulse"),
    [
        (PulseStart(0, 57, 60), 58, 58),  # the detector counted on while we were down
        (PulseStart(0, 57, 60), 57, BASE_STEP + 57),
        (PulseStart(0, 57, 60), 3, BASE_STEP + 3),
        (PulseStart(0, 57, BASE_STEP), 3, 2 * BASE_STEP + 3),  # another module has come further
        (PulseStart(BASE_STEP, BASE_STEP + 9, BASE_STEP + 9), 10, BASE_STEP + 10),
        (PulseStart(2 * BASE_STEP, BASE_STEP + 9, BASE_STEP + 9), 4, 2 * BASE_STEP + 4),  # the others started afresh
        (PulseStart(0, BASE_STEP - 1, 5), 1, BASE_STEP + 1),
        (PulseStart(), 0, 0),
    ],
)
def test_the_first_frame_goes_on_above_what_is_on_disk(start: PulseStart, frame: int, pulse: int):
    b = Bench(pulse_from="framenum", start=start)
    b.feed(stock(b, frame))
    assert pulses(b) == [pulse]


def test_modules_agree_on_a_base():
    asked: list[tuple[int, int]] = []

    def agree(base: int, above: int) -> int:
        asked.append((base, above))
        return 7 * BASE_STEP

    b = Bench(pulse_from="framenum", next_base=agree)
    b.feed(*(stock(b, i) for i in (50, 51)), *(stock(b, i) for i in (1, 2)))
    assert pulses(b) == [50, 51, 7 * BASE_STEP + 1, 7 * BASE_STEP + 2]
    assert asked == [(0, 51)]


@given(st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=8), min_size=1, max_size=6), st.integers(1, 3))
def test_no_pulse_is_given_twice(counts: list[list[int]], step: int):
    b = Bench(packets=1, pulse_from="framenum", pulse_id_step=step, max_frame_gap=1000)
    for count in counts:
        b.feed(*(stock(b, i) for i in sorted(set(count))))
        b.pause(0.3)
    b.flush()
    given_ids = pulses(b)
    assert given_ids == sorted(set(given_ids))


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.49, 0.5, 0.51, 0.99])
@pytest.mark.parametrize("period", [0.999, 1.0, 1.001])
def test_neither_phase_nor_drift_of_the_stamps_matters(phase: float, period: float):
    b = Bench(packets=1, pulse_from="timestamp", pulse_period_ns=PERIOD_NS)
    jitter = itertools.cycle([0.0, 0.2, -0.2, 0.1])
    b.feed(*(stock(b, i, int((i * period + phase + next(jitter) + 1) * TICKS)) for i in range(2000)))
    given_ids = pulses(b)
    assert given_ids == list(range(given_ids[0], given_ids[0] + 2000))


def test_lost_frames_leave_their_periods():
    b = Bench(pulse_from="timestamp", pulse_period_ns=PERIOD_NS)
    b.feed(stock(b, 1, 3 * TICKS), stock(b, 2, 4 * TICKS), stock(b, 3, 9 * TICKS))
    assert pulses(b) == [3, 4, 9]


def test_a_clock_that_starts_afresh_while_the_frames_count_on():
    b = Bench(pulse_from="timestamp", pulse_period_ns=PERIOD_NS)
    b.feed(stock(b, 1, 50 * TICKS), stock(b, 2, 51 * TICKS), stock(b, 3, 0), stock(b, 4, TICKS))
    assert pulses(b) == [50, 51, BASE_STEP, BASE_STEP + 1]
    assert b.frames.restarts == 1


@pytest.mark.parametrize("times", [[5, 5, 5, 5], [5, 5.2, 5.4, 8], [5, 10**9, 10**9 + 1, 10**9 + 2]])
def test_stamps_that_cannot_be_are_flagged_and_overwrite_nothing(times: list[float], caplog: pytest.LogCaptureFixture):
    b = Bench(pulse_from="timestamp", pulse_period_ns=PERIOD_NS)
    b.feed(*(stock(b, i, int(time * TICKS)) for i, time in enumerate(times)))
    b.flush()
    given_ids = all_pulses(b)
    assert given_ids == sorted(set(given_ids))
    assert len(given_ids) == 4
    assert b.frames.bad_pulse >= 1
    assert 'pulse_from = "framenum"' in caplog.text


def test_frames_carry_the_time_of_the_detector():
    for land in (False, True):
        b = Bench(batch=32, ahead=4, land=land)
        b.feed(*([p.but(timestamp=70 + p.frame) for p in b.frame(i)] for i in range(1, 9)))
        assert [done.detector_time for done in b.slots.done] == [70 + i for i in range(1, 9)]


def test_the_next_base():
    assert [next_base(0, above) for above in (-1, 0, 1, BASE_STEP - 1, BASE_STEP)] == [
        0, BASE_STEP, BASE_STEP, BASE_STEP, 2 * BASE_STEP,
    ]  # fmt: skip


def test_a_bunchid_of_0_is_a_pulse_on_frame_0_only():
    tracker = PulseTracker(1, 100, is_float=True)
    assert [tracker.read(0.0, 0), tracker.read(0.0, 1), tracker.read(-0.0, 0), tracker.read(0.5, 0)] == [
        0,
        None,
        0,
        None,
    ]
