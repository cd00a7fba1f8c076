import random

import pytest

from ioc.clock_offset import ClockOffset, Exchange, clock_offset

MS = 1_000_000


def exchange(offset_ns: int, out_ns: int, back_ns: int, asked_ns: int = 10**18) -> Exchange:
    """An exchange with a host whose clock is ``offset_ns`` ahead; the question took ``out_ns``, the answer ``back_ns``."""
    return Exchange(asked_ns, asked_ns + out_ns + offset_ns, out_ns + back_ns)


@pytest.mark.parametrize("offset_ns", [0, 1, -1, 7 * MS, -37_000 * MS])
def test_with_equal_delays_the_offset_is_exact(offset_ns: int) -> None:
    assert clock_offset([exchange(offset_ns, 50 * MS, 50 * MS)]) == ClockOffset(offset_ns, 100 * MS)


@pytest.mark.parametrize(("out_ns", "back_ns"), [(10 * MS, 0), (0, 10 * MS)])
def test_delays_on_one_way_only_make_an_error_of_half_the_round_trip(out_ns: int, back_ns: int) -> None:
    found = clock_offset([exchange(2 * MS, out_ns, back_ns)])
    assert abs(found.offset_ns - 2 * MS) == found.uncertainty_ns == 5 * MS


def test_the_exchange_that_waited_least_counts() -> None:
    slow, fast, slower = (exchange(-3 * MS, out, back) for out, back in ((9 * MS, MS), (MS, MS), (MS, 80 * MS)))
    assert clock_offset([slow, fast, slower]) == ClockOffset(-3 * MS, 2 * MS)


def test_whatever_the_delays_are_the_offset_is_within_its_uncertainty() -> None:
    chance = random.Random(15)
    for _ in range(1000):
        offset_ns = chance.randint(-(10**12), 10**12)
        delays = [(chance.randint(0, 10**8), chance.randint(0, 10**8)) for _ in range(8)]
        found = clock_offset(exchange(offset_ns, *delay) for delay in delays)
        assert abs(found.offset_ns - offset_ns) <= found.uncertainty_ns
        assert found.round_trip_ns == min(map(sum, delays))
