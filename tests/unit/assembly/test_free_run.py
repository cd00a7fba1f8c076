from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.assembly.free_run import STEP_BACK_NS, FreeRunPulses

MS = 1_000_000


def test_the_unique_id_is_the_pulse_in_steps() -> None:
    pulses = FreeRunPulses("unique_id", step=10)
    assert [pulses.pulse_id(n, n) for n in (7, 8, 11)] == [70, 80, 110]


def test_a_restarted_counter_goes_on_where_it_was() -> None:
    pulses = FreeRunPulses("unique_id", step=2)
    assert [pulses.pulse_id(n, t) for t, n in enumerate((500, 501, 1, 2, 4, 0))] == [1000, 1002, 1004, 1006, 1010, 1012]
    assert pulses.rebased == 2


def test_an_image_sent_again_has_no_pulse() -> None:
    pulses = FreeRunPulses("unique_id")
    assert [pulses.pulse_id(5, 77), pulses.pulse_id(5, 77), pulses.pulse_id(6, 78)] == [5, None, 6]


def test_a_source_that_never_counts_is_told_apart_by_time() -> None:
    pulses = FreeRunPulses("unique_id", step=3)
    assert [pulses.pulse_id(0, t) for t in (10, 20, 20, 30)] == [0, 3, None, 6]
    assert pulses.rebased == 0


def test_a_source_without_ids_is_counted() -> None:
    pulses = FreeRunPulses("unique_id")
    assert [pulses.pulse_id(None, 0) for _ in range(3)] == [1, 2, 3]


def test_time_stamps_are_counted_in_periods() -> None:
    pulses = FreeRunPulses("timestamp", period_ns=10 * MS)
    assert [pulses.pulse_id(None, t * MS) for t in (1005, 1016, 1019, 1040)] == [100, 101, None, 104]


def test_pulses_go_on_above_what_is_taken() -> None:
    pulses = FreeRunPulses("unique_id", step=2, above=16)
    assert [pulses.pulse_id(n, n) for n in (4, 5, 8)] == [18, 20, 26]
    pulses.above = 100  # another folder
    assert [pulses.pulse_id(n, n) for n in (9, 10)] == [102, 104]
    assert FreeRunPulses("unique_id", above=16).pulse_id(17, 0) == 17
    by_time = FreeRunPulses("timestamp", period_ns=MS, above=16)
    assert [by_time.pulse_id(None, t * MS) for t in (16, 17, 19)] == [17, 18, 20]


@pytest.mark.parametrize(("back_ns", "pulse"), [(STEP_BACK_NS, None), (STEP_BACK_NS + 1, 1001)])
def test_a_clock_set_back_goes_on_where_it_was(back_ns: int, pulse: int | None) -> None:
    pulses = FreeRunPulses("timestamp", period_ns=10 * MS)
    assert pulses.pulse_id(None, 10_000 * MS) == 1000
    assert pulses.pulse_id(None, 10_000 * MS - back_ns) == pulse
    assert pulses.rebased == (pulse is not None)


def test_absurd_time_stamps_never_lead_past_the_last_pulse() -> None:
    pulses = FreeRunPulses("timestamp")
    found = [pulses.pulse_id(None, t) for t in (10**18, 2**63 - 1) * 4]
    assert found == sorted({p for p in found if p is not None})
    assert found[-1] is not None
    assert found[-1] < 2**64


update = st.tuples(st.one_of(st.none(), st.integers(0, 2**33)), st.integers(0, 2**62))


@given(st.sampled_from(["unique_id", "timestamp"]), st.integers(1, 10**9), st.integers(1, 1000), st.lists(update))
def test_pulses_only_grow(pulse_from: Any, period_ns: int, step: int, updates: list[tuple[int | None, int]]) -> None:
    pulses = FreeRunPulses(pulse_from, period_ns, step)
    given_out = [p for p in (pulses.pulse_id(*u) for u in updates) if p is not None]
    assert all(b > a for a, b in pairwise(given_out))
    assert all(p >= 0 for p in given_out)


@given(st.lists(st.integers(0, 1000), unique=True))
def test_no_image_of_a_counting_source_is_lost(ids: list[int]) -> None:
    pulses = FreeRunPulses("unique_id")
    assert None not in [pulses.pulse_id(n, 0) for n in ids]
