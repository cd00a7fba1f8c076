import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.sources.pace import (
    CAUTIOUS_S,
    LINE_BYTES_PER_S,
    SHORTEST_S,
    SILENCE_S,
    TARGET_PACKETS,
    WORTHWHILE_S,
    Pace,
)

LONGEST_S = 0.03


def new_pace(buffer_packets: int = 8000, packets_per_frame: int = 128, longest_s: float = LONGEST_S) -> Pace:
    return Pace(
        packet_bytes=8240, packets_per_frame=packets_per_frame, buffer_packets=buffer_packets, longest_s=longest_s
    )


def pace_at(packets_hz: float, buffer_packets: int, packets_per_frame: int = 128) -> Pace:
    pace = new_pace(buffer_packets, packets_per_frame)
    pace.add(1, 100.0)
    pace.add(round(packets_hz * 0.1), 100.1)
    return pace


def test_rate_is_measured():
    assert pace_at(12_800, 8000).packets_hz == pytest.approx(12_800)


def test_slow_module_is_looked_at_seldom():
    assert pace_at(1000, 8000).tick_s == LONGEST_S


def test_fast_module_gets_half_a_batch_a_look():
    assert pace_at(128_000, 8000).tick_s == pytest.approx(TARGET_PACKETS / 128_000)


def test_while_the_rate_is_not_known_looks_are_frequent():
    pace = new_pace()
    assert (pace.packets_hz, pace.tick_s) == (0, CAUTIOUS_S)
    pace.add(0, 100.0)
    assert pace.tick_s == CAUTIOUS_S
    pace.add(500, 100.1)
    assert pace.tick_s == CAUTIOUS_S, "packets that came since nobody knows when"


def test_silence_makes_the_rate_unknown():
    pace = pace_at(1000, 8000)
    pace.add(0, 100.1 + SILENCE_S / 2)
    assert pace.tick_s == LONGEST_S
    pace.add(0, 105.0)
    pace.add(100, 105.001)
    assert (pace.packets_hz, pace.tick_s) == (0, CAUTIOUS_S)
    pace.add(6400, 105.06)
    assert pace.packets_hz == pytest.approx(6400 / 0.059)


def test_a_rate_that_rises_to_the_line_does_not_fill_the_buffer():
    tick = new_pace(4000, longest_s=0.2)
    tick.add(1, 100.0)
    tick.add(10, 100.1)
    assert tick.tick_s * LINE_BYTES_PER_S / 8240 == pytest.approx(3000)


def test_tick_has_a_lower_bound():
    assert pace_at(8_000_000, 16_000).tick_s == SHORTEST_S


def test_buffer_of_a_few_packets_is_looked_at_without_pause():
    assert pace_at(12_800, 12).tick_s == 0


@given(st.floats(0, 1e6), st.integers(1, 10_000), st.sampled_from([1, 64, 128, 256]))
def test_buffer_never_fills_by_more_than_a_quarter(rate: float, buffer_packets: int, packets_per_frame: int):
    tick = pace_at(rate, buffer_packets, packets_per_frame).tick_s
    measured = round(rate * 0.1) / 0.1
    assert tick == 0 or WORTHWHILE_S <= tick <= LONGEST_S
    assert tick * measured <= max(buffer_packets / 4, 0) * 1.0001
    if buffer_packets < 2 * packets_per_frame:
        assert tick * LINE_BYTES_PER_S / 8240 <= buffer_packets / 4 * 1.0001
