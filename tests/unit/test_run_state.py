import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import TransitionRefusedError
from detectors.run_state import COMMANDS, RunState, Service, next_state, path_to

U, C, R, E = RunState
LEGAL = {
    (U, Service.CONFIGURE): C,
    (C, Service.CONFIGURE): C,
    (C, Service.UNCONFIGURE): U,
    (C, Service.BEGIN_RUN): R,
    (R, Service.BEGIN_RUN): R,
    (R, Service.END_RUN): C,
    (R, Service.ENABLE): E,
    (R, Service.SLOW_UPDATE): R,
    (E, Service.DISABLE): R,
    (E, Service.SLOW_UPDATE): E,
    (E, Service.L1_ACCEPT): E,
    (R, Service.BEGIN_STEP): R,
    (R, Service.END_STEP): R,
    **{(state, Service.CLEAR_READOUT): state for state in RunState},
}


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize("service", Service)
def test_every_transition_from_every_state(state: RunState, service: Service) -> None:
    if (state, service) in LEGAL:
        assert next_state(state, service) is LEGAL[state, service]
        return
    with pytest.raises(TransitionRefusedError) as refusal:
        next_state(state, service)
    text = str(refusal.value)
    assert text.startswith(f"{service.label} refused: the run is {state.label}; legal now: ")
    assert {s.label for (at, s) in LEGAL if at is state and s in COMMANDS} == set(
        text.split("legal now: ")[1].split(", ")
    )


@pytest.mark.parametrize("start", RunState)
@pytest.mark.parametrize("target", RunState)
def test_a_path_leads_there_and_is_no_longer_than_it_must(start: RunState, target: RunState) -> None:
    steps, state = path_to(start, target), start
    for step in steps:
        state = next_state(state, step)
    assert state is target
    assert len(steps) == abs(target - start)


@given(st.lists(st.sampled_from(Service)))
def test_data_is_taken_only_after_the_whole_ladder(services: list[Service]) -> None:
    state, done = U, []
    for service in services:
        try:
            state = next_state(state, service)
        except TransitionRefusedError:
            continue
        done.append(service)
        if service is Service.L1_ACCEPT:
            for needed in (Service.CONFIGURE, Service.BEGIN_RUN, Service.ENABLE):
                assert needed in done


def test_labels_are_those_of_lcls() -> None:
    assert {s.value: s.label for s in Service} == {
        0: "ClearReadout", 1: "Reset", 2: "Configure", 3: "Unconfigure", 4: "BeginRun", 5: "EndRun", 6: "BeginStep",
        7: "EndStep", 8: "Enable", 9: "Disable", 10: "SlowUpdate", 12: "L1Accept",
    }  # fmt: skip
