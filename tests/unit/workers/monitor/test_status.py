import threading
from dataclasses import replace

import pytest

from detectors.stats import OutputStats, PoolStats, UpdateStats
from detectors.workers.monitor.status import STALLED_NS, activity
from detectors.workers.monitor.store import add_counts, side_by_side
from detectors.workers.monitor.tally import Tally

S = 1_000_000_000


@pytest.mark.parametrize(
    ("pvs", "enabled", "event", "now", "expected"),
    [
        ([(10 * S, 0)], 5 * S, None, 11 * S, "Receiving"),
        ([(0, 0)], 5 * S, None, 6 * S, "Idle"),
        ([(0, 0)], 5 * S, None, 5 * S + STALLED_NS + 1, "Stalled"),
        ([(10 * S, 0)], 5 * S, None, 10 * S + STALLED_NS + 1, "Stalled"),
        ([(10 * S, 3 * S)], 5 * S, None, 20 * S, "Receiving"),  # a slow one
        ([(10 * S, 0), (2 * S, 0)], 5 * S, None, 11 * S, "Stalled"),  # one of two is silent
        ([(10 * S, 0)], 5 * S, 10 * S, 20 * S, "Idle"),  # no events either: no beam
        ([(10 * S, 0)], 5 * S, 19 * S, 20 * S, "Stalled"),
    ],
)
def test_silence_is_a_fault_only_when_something_is_due(
    pvs: list[tuple[int, int]], enabled: int, event: int | None, now: int, expected: str
) -> None:
    assert activity(*zip(*pvs, strict=True), enabled, event, now) == expected


def test_counts_go_on_over_what_is_made_anew() -> None:
    past = OutputStats("disk", offered=10, written=7, dropped=3, bytes=70, queued=0, folder="/old")
    now = OutputStats("disk", offered=5, written=4, queued=1, bytes=40, folder="/new")
    total = add_counts(past, now)
    assert (total.offered, total.written, total.dropped, total.queued, total.folder) == (15, 11, 3, 1, "/new")
    assert total.offered == total.written + total.dropped + total.disabled + total.queued
    pools = add_counts(
        PoolStats(count=8, acquires=5, returns=5, high_water=4),
        PoolStats(count=4, acquires=3, returns=1, in_use=2, high_water=2),
    )
    assert pools == PoolStats(count=4, acquires=8, returns=6, in_use=2, high_water=4)


def test_pools_side_by_side() -> None:
    one = PoolStats(count=4, size_bytes=64, total_bytes=256, in_use=1, acquires=3, returns=2, high_water=2)
    both = side_by_side([one, replace(one, size_bytes=128, total_bytes=512)])
    assert (both.count, both.size_bytes, both.total_bytes, both.in_use, both.high_water) == (8, 128, 768, 2, 4)
    assert both.acquires == both.returns + both.in_use
    assert side_by_side([]) == PoolStats()


def test_a_tally_counts_for_many_threads() -> None:
    tally = Tally()

    def count() -> None:
        for _ in range(2000):
            tally.add(updates=1, held=1)
            tally.add(held=-1, match=1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(t.is_alive() for t in threads):
        seen = tally.freeze()
        assert seen.updates == seen.match + seen.held
    assert tally.freeze() == UpdateStats(updates=8000, match=8000)
    with pytest.raises(KeyError):
        tally.add(nonsense=1)
