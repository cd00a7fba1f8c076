import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.wire.unique_id import Step, UniqueIds


def steps(*unique_ids: int) -> list[Step]:
    ids = UniqueIds()
    return [ids.step(i) for i in unique_ids]


def test_gaps_are_missed_images() -> None:
    assert steps(5, 6, 9) == [Step(5), Step(6), Step(9, missed=2)]


def test_the_first_after_a_reconnection_is_often_the_last_one_again() -> None:
    assert steps(5, 5, 6) == [Step(5), Step(5, repeated=True), Step(6)]


def test_going_back_is_a_restart() -> None:
    assert steps(500, 0, 1) == [Step(500), Step(0, restarted=True), Step(1)]
    assert steps(500, 499)[1] == Step(499, restarted=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [(2**31 - 1, -(2**31)), (2**31 - 1, 0), (-1, 0), (2**32 - 1, 0)],
)
def test_wraps(before: int, after: int) -> None:
    first, second = steps(before, after)
    assert (second.value, second.missed, second.restarted) == (first.value + 1, 0, False)


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 1000), max_size=50),
    st.sampled_from([31, 32]),
)
def test_a_counter_of_any_width_is_followed(start: int, gaps: list[int], width: int) -> None:
    start &= (1 << width) - 1
    ids, true = UniqueIds(), start
    base = ids.step(start).value
    for gap in gaps:
        true += gap
        raw = true & ((1 << width) - 1)
        step = ids.step(raw - (1 << 32) if raw >> 31 else raw)
        assert (step.value - base, step.missed) == (true - start, gap - 1)
        assert not step.restarted


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1))
def test_anything_goes(unique_ids: list[int]) -> None:
    ids, value = UniqueIds(), -1
    for unique_id in unique_ids:
        step = ids.step(unique_id)
        assert step.value >= 0
        assert step.missed >= 0
        assert step.restarted or step.value == value + 1 + step.missed or step.repeated or value == -1
        value = step.value
