from hypothesis import given
from hypothesis import strategies as st

from detectors.assembly.forecast import PulseForecast


def test_nothing_is_expected_before_two_updates_are_settled() -> None:
    forecast = PulseForecast()
    assert forecast.begin() == (0, None)
    forecast.settle(0, 100)
    assert forecast.begin() == (1, None)
    forecast.settle(1, 110)
    assert forecast.begin() == (2, 120)


@given(st.integers(0, 1 << 60), st.integers(1, 1000), st.integers(1, 9), st.lists(st.integers(0, 9), max_size=30))
def test_regular_pulses_are_expected_however_many_updates_are_under_way(
    first: int, step: int, most: int, settled: list[int]
) -> None:
    forecast, done = PulseForecast(), 0
    for begun in range(2):
        forecast.begin()
        forecast.settle(begun, first + begun * step)
    begun, done = 2, 2
    for count in settled:
        number, pulse_id = forecast.begin()
        assert (number, pulse_id) == (begun, first + begun * step)
        begun += 1
        for _ in range(min(count, begun - done - most)):
            forecast.settle(done, first + done * step)
            done += 1


def test_after_a_gap_it_goes_on_from_the_new_pulse() -> None:
    forecast = PulseForecast()
    for number, pulse_id in enumerate((5, 6, 9)):
        forecast.begin()
        forecast.settle(number, pulse_id)
    assert forecast.begin() == (3, 12)
    forecast.settle(3, 10)
    assert forecast.begin() == (4, 11)


def test_an_update_that_is_not_settled_says_nothing_of_the_step() -> None:
    forecast = PulseForecast()
    for _ in range(4):
        forecast.begin()
    forecast.settle(0, 1)
    forecast.settle(1, 2)
    forecast.settle(3, 3)  # the one before was discarded
    assert forecast.begin() == (4, 4)


def test_pulses_that_go_back_are_not_expected_to_go_on_back() -> None:
    forecast = PulseForecast()
    for number, pulse_id in enumerate((8, 7)):
        forecast.begin()
        forecast.settle(number, pulse_id)
    assert forecast.begin() == (2, None)
