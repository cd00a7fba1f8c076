import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import ConfigError
from sim.faults import MAX_DISPLACEMENT, FaultRates, plan_frame

FRACTION = st.sampled_from([0.0, 0.01, 0.3, 1.0])


RATES = st.builds(FaultRates, loss=FRACTION, duplicate=FRACTION, reorder=FRACTION)


@given(RATES, st.integers(1, 256), st.integers(0, 2**32), st.integers(0, 2**40))
def test_a_plan_accounts_for_every_packet(rates, packets, seed, frame):
    plan = plan_frame(rates, packets, seed=seed, stream=1, frame=frame)
    sent, copies = np.unique(plan.order, return_counts=True)
    assert sorted([*sent, *np.flatnonzero(plan.lost)]) == list(range(packets))
    assert plan.order.size == sent.size + plan.duplicated
    assert plan.duplicated == (copies == 2).sum()
    assert not copies.size or copies.max() <= 2
    assert plan.complete == (sent.size == packets)


@given(st.integers(1, 256), st.integers(0, 2**32), st.integers(0, 2**40))
def test_reordered_packets_stay_near_their_place(packets, seed, frame):
    plan = plan_frame(FaultRates(reorder=0.3), packets, seed=seed, stream=0, frame=frame)
    # One packet is overtaken by those up to MAX_DISPLACEMENT behind it, and moves up where others moved back.
    assert np.abs(plan.order - np.arange(packets)).max() <= MAX_DISPLACEMENT
    behind = [i for i, packet in enumerate(plan.order) if any(plan.order[:i] > packet)]
    assert plan.reordered == len(behind)


def test_no_faults_send_every_packet_once_in_order():
    plan = plan_frame(FaultRates(), 128, seed=1, stream=0, frame=5)
    assert (plan.order == np.arange(128)).all()
    assert (plan.complete, plan.duplicated, plan.reordered) == (True, 0, 0)


def test_plans_repeat_by_seed_and_differ_by_frame_and_stream():
    rates = FaultRates(0.1, 0.1, 0.1)

    def order(seed, stream, frame):
        return plan_frame(rates, 128, seed=seed, stream=stream, frame=frame).order.tolist()

    assert order(1, 0, 5) == order(1, 0, 5)
    assert len({tuple(order(*key)) for key in ((1, 0, 5), (2, 0, 5), (1, 1, 5), (1, 0, 6))}) == 4


def test_the_fractions_are_met():
    rates = FaultRates(loss=0.1, duplicate=0.2, reorder=0.05)
    plans = [plan_frame(rates, 128, seed=3, stream=0, frame=n) for n in range(200)]
    packets = 200 * 128
    assert sum(p.lost.sum() for p in plans) / packets == pytest.approx(0.1, abs=0.01)
    assert sum(p.duplicated for p in plans) / packets == pytest.approx(0.2 * 0.9, abs=0.01)
    assert 0.02 < sum(p.reordered for p in plans) / packets < 0.1


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(wrong):
    with pytest.raises(ConfigError, match="expected a fraction"):
        FaultRates(duplicate=wrong)
