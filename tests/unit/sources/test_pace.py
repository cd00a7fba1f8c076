import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.sources.pace import LINE_BYTES_PER_S, LONGEST_S, SHORTEST_S, WORTHWHILE_S, Pace


def pace_at(packets_hz: float, buffer_packets: int, packets_per_frame: int = 128) -> Pace:
    pace = Pace(packet_bytes=8240, packets_per_frame=packets_per_frame, buffer_packets=buffer_packets)
    pace.add(0, 100.0)
    pace.add(round(packets_hz * 0.2), 100.2)
    return pace


def test_rate_is_measured():
    assert pace_at(12_800, 8000).packets_hz == pytest.approx(12_800)


def test_slow_module_is_looked_at_seldom():
    assert pace_at(12_800, 8000).tick_s == LONGEST_S
    assert pace_at(0, 8000).tick_s == LONGEST_S


def test_fast_module_gets_three_quarters_of_a_batch_a_look():
    assert pace_at(128_000, 8000).tick_s == pytest.approx(192 / 128_000)


def test_tick_has_a_lower_bound():
    assert pace_at(2_000_000, 8000).tick_s == SHORTEST_S


def test_buffer_of_a_few_packets_is_looked_at_without_pause():
    assert pace_at(12_800, 12).tick_s == 0


@given(st.floats(0, 1e6), st.integers(1, 10_000), st.sampled_from([1, 64, 128, 256]))
def test_buffer_never_fills_by_more_than_a_quarter(rate: float, buffer_packets: int, packets_per_frame: int):
    tick = pace_at(rate, buffer_packets, packets_per_frame).tick_s
    measured = round(rate * 0.2) / 0.2
    assert tick == 0 or WORTHWHILE_S <= tick <= LONGEST_S
    assert tick * measured <= max(buffer_packets / 4, 0) * 1.0001
    if buffer_packets < 2 * packets_per_frame:
        assert tick * LINE_BYTES_PER_S / 8240 <= buffer_packets / 4 * 1.0001
