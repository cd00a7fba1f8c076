from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.assembly.match import (
    COMPARISONS,
    Discarded,
    Fate,
    Matcher,
    Passed,
    Rejected,
    Settled,
    compare_exact,
    compare_fuzzy,
)
from detectors.frame import Damage
from detectors.run_state import Service
from detectors.wire.timing import TimingEvent

TIMEOUT = 1500
MS = 1_000_000
S = 1_000_000_000


def l1(timestamp_ns: int, pulse_id: int = 0) -> TimingEvent:
    return TimingEvent(Service.L1_ACCEPT, pulse_id, timestamp_ns, 0)


def transition(service: Service) -> TimingEvent:
    return TimingEvent(service, 0, 0, 0)


def matcher(mode: str = "exact", sources: int = 1) -> Matcher[Any]:
    return Matcher(COMPARISONS[mode], TIMEOUT, sources)


def told(outcomes: Any) -> list[tuple[Any, ...]]:
    """Outcomes as short tuples."""
    short: list[tuple[Any, ...]] = []
    for outcome in outcomes:
        match outcome:
            case Settled(event, tokens, damage):
                short.append((event.timestamp_ns, *tokens, damage))
            case Discarded(_, token, fate):
                short.append((token, fate))
            case Passed(event):
                short.append((event.service,))
            case Rejected(event):
                short.append(("refused", event.timestamp_ns))
    return short


# --- the four outcomes, in both orders of arrival


@pytest.mark.parametrize("pv_first", [True, False])
def test_equal_time_stamps_belong_together(pv_first: bool) -> None:
    m = matcher()
    if pv_first:
        m.update(0, 100, "pv", 0)
        assert told(m.settle(0)) == []
        m.event(l1(100), 1)
    else:
        m.event(l1(100), 0)
        assert told(m.settle(0)) == []
        m.update(0, 100, "pv", 1)
    assert told(m.settle(1)) == [(100, "pv", Damage.NONE)]
    assert (m.pending, m.held) == (0, 0)


@pytest.mark.parametrize("pv_first", [True, False])
def test_an_event_before_the_update_is_empty_and_the_next_is_tried(pv_first: bool) -> None:
    m = matcher()
    if pv_first:
        m.update(0, 300, "pv", 0)
    m.event(l1(100), 0)
    m.event(l1(200), 0)
    m.event(l1(300), 0)
    if not pv_first:
        m.update(0, 300, "pv", 0)
    assert told(m.settle(0)) == [
        (100, None, Damage.MISSING_DATA),
        (200, None, Damage.MISSING_DATA),
        (300, "pv", Damage.NONE),
    ]


@pytest.mark.parametrize("pv_first", [True, False])
def test_an_update_before_the_event_is_too_old(pv_first: bool) -> None:
    m = matcher()
    if not pv_first:
        m.event(l1(300), 0)
    for timestamp in (100, 200, 300):
        m.update(0, timestamp, timestamp, 0)
    if pv_first:
        m.event(l1(300), 0)
    assert told(m.settle(0)) == [(100, Fate.TOO_OLD), (200, Fate.TOO_OLD), (300, 300, Damage.NONE)]


def test_no_update_in_time_is_timed_out_by_the_local_clock() -> None:
    m = matcher()
    m.event(l1(10**18), 10)
    assert told(m.settle(10 + TIMEOUT - 1)) == []
    assert m.pending == 1
    assert told(m.settle(10 + TIMEOUT)) == [(10**18, None, Damage.TIMED_OUT)]


def test_an_update_that_came_just_in_time_matches_even_if_settled_late() -> None:
    m = matcher()
    m.event(l1(100), 0)
    m.update(0, 100, "pv", TIMEOUT)
    assert told(m.settle(10 * TIMEOUT)) == [(100, "pv", Damage.NONE)]


def test_an_update_for_which_no_event_comes_expires() -> None:
    m = matcher()
    m.update(0, 100, "a", 0)
    m.update(0, 200, "b", 1)
    assert told(m.settle(TIMEOUT)) == [("a", Fate.EXPIRED)]
    assert told(m.settle(TIMEOUT + 1)) == [("b", Fate.EXPIRED)]


def test_the_next_time_out_is_known() -> None:
    m = matcher(sources=2)
    assert m.due_ns(0) is None
    m.update(0, 100, "a", 5)
    m.event(l1(100), 20)
    m.event(l1(200), 30)
    list(m.settle(20))
    assert m.due_ns(20) == 20 + TIMEOUT
    m.update(1, 300, "b", 40)
    assert told(m.settle(40)) == [(100, "a", None, Damage.MISSING_DATA)]
    assert m.due_ns(40) == 30 + TIMEOUT
    assert told(m.settle(30 + TIMEOUT)) == [(200, None, None, Damage.MISSING_DATA | Damage.TIMED_OUT)]
    assert m.due_ns(30 + TIMEOUT) == 40 + TIMEOUT


def test_the_difference_is_event_minus_update() -> None:
    m = matcher("fuzzy")
    m.event(l1(S + 4 * MS), 0)
    m.update(0, S + 1 * MS, "pv", 0)
    (settled,) = m.settle(0)
    assert isinstance(settled, Settled)
    assert settled.differences_ns == (3 * MS,)


# --- modes


def test_none_takes_the_next_update_in_order() -> None:
    m = matcher("none")
    for timestamp in (5, 3, 9):
        m.event(l1(timestamp), 0)
    for token in ("a", "b"):
        m.update(0, 777, token, 0)
    assert told(m.settle(0)) == [(5, "a", Damage.NONE), (3, "b", Damage.NONE)]
    assert m.pending == 1


@pytest.mark.parametrize(
    ("l1_ns", "pv_ns", "order"),
    [
        (5 * S + 20 * MS, 5 * S + 20 * MS, 0),
        (5 * S + 20 * MS, 5 * S + 29 * MS, 0),
        (5 * S + 20 * MS, 5 * S + 31 * MS, -1),
        (5 * S + 31 * MS, 5 * S + 20 * MS, 1),
        (5 * S, 5 * S + 0x1FFFF, 0),  # nothing but fiducial
        (5 * S, 5 * S - 1 * MS, 0),  # across a second
        (5 * S, 5 * S - 12 * MS, 1),
    ],
)
def test_fuzzy_is_within_ten_milliseconds(l1_ns: int, pv_ns: int, order: int) -> None:
    assert compare_fuzzy(l1_ns, pv_ns) == order


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_comparisons_are_antisymmetric(a: int, b: int) -> None:
    for compare in COMPARISONS.values():
        assert compare(a, b) == -compare(b, a)
    assert (compare_exact(a, b) == 0) == (a == b)


# --- transitions


def test_a_transition_waits_for_the_events_before_it() -> None:
    m = matcher()
    m.event(l1(100), 0)
    m.event(transition(Service.DISABLE), 0)
    assert told(m.settle(0)) == []
    m.update(0, 100, "pv", 1)
    assert told(m.settle(1)) == [(100, "pv", Damage.NONE), (Service.DISABLE,)]


def test_events_behind_a_disable_are_refused_and_its_updates_released() -> None:
    m = matcher()
    m.event(transition(Service.DISABLE), 0)
    m.event(l1(100), 0)
    m.update(0, 100, "pv", 0)
    seen = []
    for outcome in m.settle(0):
        seen += told([outcome])
        if isinstance(outcome, Passed):
            m.accepting = False
            seen += told(m.release())
    assert seen == [(Service.DISABLE,), ("pv", Fate.EXPIRED), ("refused", 100)]


@pytest.mark.parametrize("released", [True, False])
def test_an_event_that_is_refused_gives_its_updates_back(released: bool) -> None:
    m = matcher(sources=2)
    m.event(l1(100), 0)
    m.update(0, 100, "a", 0)
    assert told(m.settle(0)) == []
    m.accepting = False
    seen = told(m.release()) if released else []
    assert seen + told(m.settle(1)) == [("a", Fate.EXPIRED), ("refused", 100)]
    assert (m.pending, m.held) == (0, 0)


def test_an_event_whose_update_was_released_lacks_it() -> None:
    m = matcher(sources=2)
    m.event(l1(100), 0)
    m.update(0, 100, "a", 0)
    assert told(m.settle(0)) == []
    assert told(m.release()) == [("a", Fate.EXPIRED)]
    m.update(1, 100, "b", 0)
    assert told(m.settle(1)) == [(100, None, "b", Damage.MISSING_DATA)]


def test_finish_leaves_nothing() -> None:
    m = matcher(sources=2)
    m.event(l1(100), 0)
    m.event(l1(200), 0)
    m.update(0, 100, "a1", 0)
    m.update(0, 300, "a3", 0)
    assert told(m.finish()) == [
        (100, "a1", None, Damage.TIMED_OUT),
        (200, None, None, Damage.MISSING_DATA | Damage.TIMED_OUT),
        ("a3", Fate.EXPIRED),
    ]
    assert (m.pending, m.held) == (0, 0)


# --- several PVs


def test_an_event_is_complete_when_every_pv_matched() -> None:
    m = matcher(sources=2)
    m.event(l1(100), 0)
    m.update(1, 100, "b", 0)
    assert told(m.settle(0)) == []
    assert m.held == 1
    m.update(0, 100, "a", 0)
    assert told(m.settle(0)) == [(100, "a", "b", Damage.NONE)]


def test_a_pv_that_lacks_damages_the_event_and_not_the_others() -> None:
    m = matcher(sources=2)
    m.event(l1(100), 0)
    m.update(0, 100, "a", 0)
    m.update(1, 200, "b", 0)
    assert told(m.settle(0)) == [(100, "a", None, Damage.MISSING_DATA)]
    m.event(l1(200), 0)
    m.update(0, 200, "a2", 0)
    assert told(m.settle(0)) == [(200, "a2", "b", Damage.NONE)]


def test_an_older_update_behind_a_waiting_event_is_too_old_and_does_not_expire() -> None:
    m = matcher(sources=2)
    m.update(0, 100, "a", 0)
    m.update(0, 90, "older", 0)
    m.event(l1(100), TIMEOUT - 1)  # waits for the second PV
    assert told(m.settle(TIMEOUT - 1)) == [("older", Fate.TOO_OLD)]
    m.update(0, 80, "later and older", TIMEOUT)
    assert told(m.settle(2 * TIMEOUT - 2)) == [("later and older", Fate.TOO_OLD)]
    m.update(1, 100, "b", 2 * TIMEOUT - 2)
    assert told(m.settle(2 * TIMEOUT - 2)) == [(100, "a", "b", Damage.NONE)]


def test_an_update_that_waits_behind_another_pv_does_not_expire() -> None:
    m = matcher(sources=2)
    m.event(l1(100), 0)
    m.update(0, 100, "a1", 0)
    m.update(0, 200, "a2", 0)
    m.event(l1(200), 1)
    m.update(1, 200, "b2", TIMEOUT)
    # the first event lacks its second PV: b2 shows that it will not come
    assert told(m.settle(5 * TIMEOUT)) == [(100, "a1", None, Damage.MISSING_DATA), (200, "a2", "b2", Damage.NONE)]


# --- against models

stamps = st.lists(st.integers(0, 60), unique=True, max_size=25).map(sorted)


@given(stamps, stamps, st.randoms(use_true_random=False), st.booleans())
def test_sorted_streams_meet_as_sets_do_in_any_interleaving(l1s: list[int], pvs: list[int], rng: Any, burst: bool):
    m = matcher()
    arrivals = [("l1", t) for t in l1s] + [("pv", t) for t in pvs]
    order = [kind for kind, _ in arrivals]
    rng.shuffle(order)
    queues = {"l1": iter(l1s), "pv": iter(pvs)}
    outcomes: list[Any] = []
    for kind in order:
        timestamp = next(queues[kind])
        m.event(l1(timestamp), 0) if kind == "l1" else m.update(0, timestamp, timestamp, 0)
        if not burst:
            outcomes += told(m.settle(0))
    outcomes += told(m.settle(0))
    # the model: sets, and how far each stream has come
    last_l1, last_pv = max(l1s, default=-1), max(pvs, default=-1)
    assert {o[0] for o in outcomes if o[-1] is Damage.NONE} == set(l1s) & set(pvs)
    assert {o[0] for o in outcomes if o[-1] is Damage.MISSING_DATA} == {t for t in l1s if t not in pvs and t < last_pv}
    assert {o[0] for o in outcomes if o[-1] is Fate.TOO_OLD} == {t for t in pvs if t not in l1s and t < last_l1}
    assert m.pending == len([t for t in l1s if t not in pvs and t > last_pv])
    assert m.held == len([t for t in pvs if t not in l1s and t > last_l1])


def naive(mode: str, steps: list[tuple[str, int, int]]) -> tuple[list[tuple[Any, ...]], int, int]:
    """One PV, from the rules as they read: everything that came, looked through again at every step."""
    compare = COMPARISONS[mode]
    events: list[tuple[int, int]] = []
    updates: list[tuple[int, int, int]] = []
    out: list[tuple[Any, ...]] = []
    for number, (kind, timestamp, now) in enumerate(steps):
        if kind == "l1":
            events.append((timestamp, now))
        elif kind == "pv":
            updates.append((timestamp, now, number))
        while events and updates:
            order = compare(events[0][0], updates[0][0])
            if order == 0:
                out.append((events.pop(0)[0], updates.pop(0)[2], Damage.NONE))
            elif order < 0:
                out.append((events.pop(0)[0], None, Damage.MISSING_DATA))
            else:
                out.append((updates.pop(0)[2], Fate.TOO_OLD))
        # now one of the two is empty
        out += [(t, None, Damage.TIMED_OUT) for t, arrived in events if now - arrived >= TIMEOUT]
        events = [e for e in events if now - e[1] < TIMEOUT]
        out += [(u, Fate.EXPIRED) for _, arrived, u in updates if now - arrived >= TIMEOUT]
        updates = [u for u in updates if now - u[1] < TIMEOUT]
    return out, len(events), len(updates)


script = st.lists(
    st.tuples(
        st.sampled_from(["l1", "pv", "tick"]),
        st.one_of(st.integers(0, 30), st.sampled_from([0, 10**6])),  # clock steps, back and forth
        st.sampled_from([0, 0, 1, TIMEOUT // 2, TIMEOUT]),
    ),
    max_size=40,
)


@given(st.sampled_from(["exact", "fuzzy", "none"]), st.sampled_from([1, 7 * MS]), script)
def test_one_pv_behaves_as_the_naive_model(mode: str, scale: int, script: list[tuple[str, int, int]]) -> None:
    now, steps = 0, []
    for kind, timestamp, wait in script:
        now += wait
        steps.append((kind, timestamp * scale, now))
    m, outcomes = matcher(mode), []
    for number, (kind, timestamp, at) in enumerate(steps):
        if kind == "l1":
            m.event(l1(timestamp), at)
        elif kind == "pv":
            m.update(0, timestamp, number, at)
        outcomes += told(m.settle(at))
    assert (outcomes, m.pending, m.held) == naive(mode, steps)


several = st.lists(
    st.tuples(
        st.sampled_from(["l1", "l1", "pv", "pv", "pv", "tick", "transition"]),
        st.integers(0, 2),
        st.integers(0, 20),
        st.sampled_from([0, 1, TIMEOUT // 3, TIMEOUT]),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(st.integers(1, 3), st.sampled_from(["exact", "none"]), several)
def test_every_event_and_every_update_comes_out_once(sources: int, mode: str, script: Any) -> None:
    m, now = matcher(mode, sources), 0
    went_in: Counter[str] = Counter()
    tokens_in, tokens_out, order = [], [], []
    for number, (kind, source, timestamp, wait) in enumerate(script):
        now += wait
        if kind == "l1":
            m.event(l1(timestamp, number), now)
            went_in["events"] += 1
        elif kind == "transition":
            m.event(TimingEvent(Service.SLOW_UPDATE, number, 0, 0), now)
            went_in["events"] += 1
        elif kind == "pv":
            m.update(source % sources, timestamp, number, now)
            tokens_in.append(number)
        for outcome in list(m.settle(now)) + ([] if number + 1 < len(script) else list(m.finish())):
            if isinstance(outcome, Discarded):
                tokens_out.append(outcome.token)
                continue
            order.append(outcome.event.pulse_id)
            if isinstance(outcome, Settled):
                tokens_out += [t for t in outcome.tokens if t is not None]
                lacks = any(t is None for t in outcome.tokens)
                assert lacks == (outcome.damage is not Damage.NONE)
        assert len(order) + m.pending == went_in["events"]
        assert len(tokens_out) + m.held == len(tokens_in)
    assert sorted(tokens_out) == tokens_in
    assert order == sorted(order)
    assert (m.pending, m.held) == (0, 0)


@given(st.integers(-(10**9), 10**9), st.booleans(), st.integers(1, 3))
def test_a_clock_step_heals_within_the_time_out(step: int, pv_steps_too: bool, sources: int) -> None:
    """Both streams at one event per 100 ticks; at event 20 the clock of one, or of both, steps for one event."""
    m, matched = matcher(sources=sources), []
    for n in range(80):
        now, stamp = n * 100, 10**12 + n * 100
        m.event(l1(stamp + (step if n == 20 else 0), n), now)
        for source in range(sources):
            m.update(source, stamp + (step if n == 20 and pv_steps_too and source == 0 else 0), n, now)
        matched += [o.event.pulse_id for o in m.settle(now) if isinstance(o, Settled) and not o.damage]
    assert matched[:20] == list(range(20))
    assert matched[-40:] == list(range(40, 80))
