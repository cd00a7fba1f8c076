from hypothesis import given
from hypothesis import strategies as st

from detectors.assembly.newest import NewestPulse
from detectors.assembly.sync import Matched


def test_the_newest_pulse_that_all_modules_have_is_shown():
    newest = NewestPulse(2, 1.0)
    assert newest.take([[1, 2, 3], [1, 2]], 0.0) == Matched(2, 0b11)
    assert newest.take([[], [3]], 0.1) == Matched(3, 0b11)
    assert newest.take([[], []], 0.2) is None


def test_pulses_that_begin_at_a_lower_number_are_shown_at_once():
    newest = NewestPulse(2, 1.0)
    assert newest.take([[900, 901], [900]], 0.0) == Matched(900, 0b11)
    assert newest.take([[1], [1]], 0.1) == Matched(1, 0b11)


def test_a_silent_module_is_left_out_after_its_time_until_it_has_a_pulse_again():
    newest = NewestPulse(3, 1.0)
    assert newest.take([[1], [1], []], 0.0) is None
    assert newest.take([[2], [2], []], 0.9) is None
    assert newest.take([[3], [3], []], 1.0) == Matched(3, 0b011)
    assert newest.missing == 0b100
    assert newest.take([[4], [4], []], 1.1) == Matched(4, 0b011)
    assert newest.take([[5], [5], [5]], 1.2) == Matched(5, 0b111)
    assert newest.missing == 0


def test_a_slow_detector_is_not_taken_for_a_silent_module():
    newest = NewestPulse(2, 1.0)
    for pulse in range(5):
        now = pulse * 10.0
        assert newest.take([[pulse], []], now) is None
        assert newest.take([[], [pulse]], now + 0.1) == Matched(pulse, 0b11)


def test_modules_without_a_common_pulse_are_shown_each_in_its_turn():
    newest = NewestPulse(2, 1.0)
    assert newest.take([[10], [20]], 0.0) is None
    assert newest.take([[], []], 1.0) == Matched(10, 0b01)
    assert newest.missing == 0


def test_what_waits_is_bounded():
    newest = NewestPulse(2, 1e9)
    newest.take([list(range(100_000)), []], 0.0)
    assert newest.take([[], [5]], 0.1) is None  # long forgotten
    assert newest.take([[], [99_999]], 0.2) == Matched(99_999, 0b11)


@given(st.lists(st.lists(st.lists(st.integers(0, 30), max_size=5), min_size=3, max_size=3), max_size=40))
def test_what_is_shown_was_finished_by_each_module_that_it_names(looks):
    newest = NewestPulse(3, 0.5)
    finished: list[set[int]] = [set(), set(), set()]
    for n, look in enumerate(looks):
        for m, pulses in enumerate(look):
            finished[m] |= set(pulses)
        shown = newest.take(look, n * 0.2)
        if shown:
            assert shown.present
            assert all(shown.pulse_id in finished[m] for m in range(3) if shown.present >> m & 1)
