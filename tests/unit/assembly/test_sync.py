import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.assembly.sync import Matched, Rules, Synchroniser


def feed(sync: Synchroniser, *frames: tuple[int, int], now: float = 0.0) -> list[Matched]:
    found = []
    for module, pulse_id in frames:
        sync.push(module, pulse_id, now)
        found += sync.poll(now)
    return found


def pulses(found: list[Matched]) -> list[int]:
    return [m.pulse_id for m in found]


def check_balance(sync: Synchroniser) -> None:
    ends = [m + s for m, s in zip(sync.matched, sync.skipped, strict=True)]
    assert sum(sync.received) == sum(ends) + sync.queued
    assert all(r >= e for r, e in zip(sync.received, ends, strict=True))


def test_one_module_is_always_in_step():
    sync = Synchroniser(Rules(modules=1, depth=8))
    assert feed(sync, (0, 5), (0, 6), (0, 9)) == [Matched(5, 1), Matched(6, 1), Matched(9, 1)]
    assert sync.skipped == [0]


def test_the_largest_pulse_wins_and_older_ones_are_skipped():
    sync = Synchroniser(Rules(modules=3, depth=8))
    assert feed(sync, (0, 10), (1, 12), (2, 11), (0, 11), (2, 12), (0, 12)) == [Matched(12, 0b111)]
    assert sync.skipped == [2, 0, 1]
    assert sync.losses == 0


def test_a_frame_lost_by_one_module_costs_one_image():
    sync = Synchroniser(Rules(modules=2, depth=8))
    frames = [(m, p) for p in range(1, 11) for m in (0, 1) if (m, p) != (1, 5)]
    assert pulses(feed(sync, *frames)) == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert sync.skipped == [1, 0]


def test_what_is_forgotten_is_skipped_and_no_loss_of_step():
    sync = Synchroniser(Rules(modules=2, depth=8))
    feed(sync, (0, 1), (1, 1), (0, 2), (0, 3))
    sync.forget()
    assert (sync.skipped, sync.queued, sync.losses) == ([2, 0], 0, 0)
    assert feed(sync, (0, 9_000), (1, 9_000)) == [Matched(9_000, 0b11)]
    assert sync.losses == 0
    check_balance(sync)


def test_first_images_are_complete_as_soon_as_the_modules_are():
    sync = Synchroniser(Rules(modules=2, depth=64))
    ahead = [(0, p) for p in range(1, 6)]
    together = [frame for p in range(1, 11) for frame in ((1, p), (0, p + 5)) if frame[1] <= 10]
    assert feed(sync, *ahead, *together) == [Matched(p, 0b11) for p in range(1, 11)]
    assert sync.skipped == [0, 0]


def test_whoever_starts_first_is_no_loss_however_far_ahead():
    sync = Synchroniser(Rules(modules=2, depth=256, offset_limit=100))
    assert feed(sync, *((0, p) for p in range(1000))) == []
    assert pulses(feed(sync, (1, 1005), (0, 1005))) == [1005]
    assert (sync.losses, sync.skipped) == (0, [1000, 0])


def test_whoever_starts_first_waits_with_its_newest():
    sync = Synchroniser(Rules(modules=2, depth=8))
    assert feed(sync, *((0, p) for p in range(5000))) == []
    assert pulses(feed(sync, (1, 4999), (1, 5000), (0, 5000))) == [4999, 5000]
    assert sync.losses == 0
    assert sync.skipped == [4999, 0]


def test_too_far_apart_is_a_loss_and_a_fresh_start():
    sync = Synchroniser(Rules(modules=2, depth=8, offset_limit=100, pulse_id_step=2))
    assert pulses(feed(sync, (0, 1000), (1, 1200), (0, 1200))) == [1200]  # 100 pulses of step 2: still allowed
    assert feed(sync, (0, 1202), (1, 1404)) == []
    assert sync.losses == 1
    assert "101 pulses apart" in sync.reason
    assert not sync.in_step
    assert pulses(feed(sync, (0, 1406), (1, 1406))) == [1406]
    assert sync.in_step


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_no_image_is_lost_when_all_modules_jump_forward(order: tuple[int, int]):
    sync = Synchroniser(Rules(modules=2, depth=8, offset_limit=100))
    ended_unevenly = [(0, 1), (1, 1), (0, 2), (0, 3)]
    jumped = [(m, p) for p in (100_001, 100_002) for m in order]
    assert pulses(feed(sync, *ended_unevenly, *jumped)) == [1, 100_001, 100_002]
    assert (sync.losses, sync.skipped) == (1, [2, 0])


def test_modules_that_never_meet_are_a_loss():
    sync = Synchroniser(Rules(modules=2, depth=8, retry_limit=3))
    frames = [(p % 2, p) for p in range(12)]  # one module sees the even pulses, the other the odd ones
    assert feed(sync, *frames) == []
    assert sync.losses >= 1
    assert "no common pulse in 3 attempts" in sync.reason


def test_a_pulse_id_that_jumps_up_and_back_costs_little():
    sync = Synchroniser(Rules(modules=2, depth=8))
    found = feed(sync, (0, 1), (1, 1), (0, 2), (1, 10**15), (0, 3), (1, 3), (0, 4), (1, 4))
    assert pulses(found) == [1, 3, 4]
    assert sync.losses == 1


def test_a_source_that_starts_its_pulses_anew_is_followed():
    sync = Synchroniser(Rules(modules=2, depth=8))
    assert pulses(feed(sync, (0, 5000), (1, 5000), (0, 1), (1, 1), (0, 2), (1, 2))) == [5000, 1, 2]
    assert sync.losses == 1
    assert "went back" in sync.reason


def test_late_and_repeated_frames_are_skipped():
    sync = Synchroniser(Rules(modules=2, depth=8))
    assert pulses(feed(sync, (0, 5), (1, 5), (0, 5), (1, 4), (0, 6), (0, 6), (1, 6))) == [5, 6]
    assert sync.skipped == [2, 1]


def test_a_dead_module_is_filled_after_a_while_and_taken_back():
    sync = Synchroniser(Rules(modules=2, depth=8, missing_after_s=1.0, fill=True))
    assert feed(sync, (0, 1), (1, 1), now=0) == [Matched(1, 0b11)]
    assert feed(sync, (0, 2), now=0.1) == []
    assert sync.poll(1.0) == []
    assert sync.poll(1.1) == [Matched(2, 0b01)]
    assert sync.missing == 0b10
    assert feed(sync, (0, 3), now=1.2) == [Matched(3, 0b01)]  # at once: it is known to be dead
    assert feed(sync, (1, 4), now=1.3) == []
    assert sync.missing == 0
    assert feed(sync, (0, 4), now=1.3) == [Matched(4, 0b11)]


def test_a_dead_module_is_waited_for_when_told_so():
    sync = Synchroniser(Rules(modules=2, depth=4, missing_after_s=1.0, fill=False))
    feed(sync, (0, 1), (1, 1))
    assert feed(sync, *((0, p) for p in range(2, 12)), now=5.0) == []
    assert sync.poll(7.0) == []
    assert sync.missing == 0b10
    assert sync.queued == 4
    assert pulses(feed(sync, (1, 10), (1, 11), now=8.0)) == [10, 11]


def test_a_run_waits_for_a_module_that_was_dead():
    sync = Synchroniser(Rules(modules=2, depth=8, missing_after_s=1.0))
    feed(sync, (0, 1), (1, 1), (0, 2), now=0.1)  # the run ended between the two modules
    assert sync.poll(1.2) == [Matched(2, 0b01)]
    assert sync.missing == 0b10
    sync.expect_all()
    assert feed(sync, (0, 7), now=5.0) == []  # module 0 is the first to go on
    assert feed(sync, (1, 7), now=5.1) == [Matched(7, 0b11)]


def test_silence_of_all_kills_nobody():
    sync = Synchroniser(Rules(modules=2, depth=8, missing_after_s=1.0))
    feed(sync, (0, 1), (1, 1), now=0)
    assert sync.poll(100.0) == []
    assert feed(sync, (0, 2), now=100.0) == []  # module 1 is given its time from here
    assert feed(sync, (1, 2), now=100.001) == [Matched(2, 0b11)]


@given(
    st.integers(1, 4),
    st.integers(1, 60),
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_nothing_is_lost_when_no_module_loses_anything(modules, count, first, step, random):
    """Each module delivers every pulse, in any interleaving: all are matched, from the first that all began with."""
    sync = Synchroniser(Rules(modules=modules, depth=64, pulse_id_step=step))
    left = [[first + n * step for n in reversed(range(count))] for _ in range(modules)]
    found: list[int] = []
    while any(left):
        module = random.choice([m for m in range(modules) if left[m]])
        found += pulses(feed(sync, (module, left[module].pop())))
        check_balance(sync)
    assert sync.losses == 0
    assert found[-1] == first + (count - 1) * step
    assert found == list(range(found[0], found[-1] + 1, step))


events = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 300) | st.integers(0, 2**63), st.floats(0, 2)), max_size=60
)


@given(events, st.booleans(), st.integers(1, 10), st.integers(1, 4), st.integers(1, 200))
def test_whatever_comes_is_balanced_and_ordered(history, fill, depth, retries, limit):
    rules = Rules(modules=3, depth=depth, offset_limit=limit, retry_limit=retries, fill=fill)
    sync = Synchroniser(rules)
    now, seen = 0.0, [set(), set(), set()]
    last, losses = -1, 0
    for module, pulse_id, pause in history:
        now += pause
        sync.push(module, pulse_id, now)
        seen[module].add(pulse_id)
        for match in sync.poll(now):
            if sync.losses == losses:
                assert match.pulse_id > last
            last = match.pulse_id
            assert match.present
            assert all(match.pulse_id in seen[m] for m in range(3) if match.present >> m & 1)
            assert fill or match.present == 0b111
        losses = sync.losses
        if not sync.in_step:
            last = -1
        check_balance(sync)
        assert sync.queued <= 3 * depth


@settings(max_examples=200)
@given(events, st.booleans(), st.integers(4, 10))
def test_step_is_found_again_after_any_history(history, fill, depth):
    """After any garbage, twenty clean pulses of all modules end in step, with the last one matched."""
    sync = Synchroniser(Rules(modules=3, depth=depth, fill=fill))
    now = 0.0
    for module, pulse_id, pause in history:
        now += pause
        feed(sync, (module, pulse_id), now=now)
    found = feed(sync, *((m, p) for p in range(10**6, 10**6 + 20) for m in range(3)), now=now)
    assert found[-1] == Matched(10**6 + 19, 0b111)
    assert sync.in_step
