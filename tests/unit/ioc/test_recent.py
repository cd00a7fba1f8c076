from hypothesis import given
from hypothesis import strategies as st

from ioc.recent import RecentGain

steps = st.lists(st.tuples(st.floats(0, 7), st.integers(0, 5)), max_size=40)


@given(steps)
def test_the_gain_is_that_of_the_last_seconds(found: list[tuple[float, int]]) -> None:
    window, now, total, seen = RecentGain(10.0), 0.0, 100, []
    assert window.add(now, total) == 0
    for wait, gain in found:
        now, total = now + wait, total + gain
        seen.append((now, gain))
        assert window.add(now, total) == sum(g for t, g in seen if t > now - 10.0)


def test_a_counter_that_began_again_counts_from_zero() -> None:
    window = RecentGain(10.0)
    assert window.add(0.0, 500) == 0
    assert window.add(1.0, 503) == 3
    assert window.add(2.0, 4) == 7


def test_the_gain_is_gone_after_the_span_without_a_change() -> None:
    window = RecentGain(10.0)
    window.add(0.0, 0)
    assert window.add(1.0, 2) == 2
    assert window.add(10.9, 2) == 2
    assert window.add(11.0, 2) == 0
