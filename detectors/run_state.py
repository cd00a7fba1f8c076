"""The run's state machine: which transition is legal in which state, and the state after it.

Source: LCLS-II's transition services; numbers as in ``XtcData::TransitionId``.
"""

from enum import IntEnum
from typing import Final

from detectors.errors import CommandError, TransitionRefusedError


class Service(IntEnum):
    """What a timing header announces. RESET is known, and refused in every state: a run is led down step by step."""

    CLEAR_READOUT = 0
    RESET = 1
    CONFIGURE = 2
    UNCONFIGURE = 3
    BEGIN_RUN = 4
    END_RUN = 5
    BEGIN_STEP = 6
    END_STEP = 7
    ENABLE = 8
    DISABLE = 9
    SLOW_UPDATE = 10
    L1_ACCEPT = 12

    @property
    def label(self) -> str:
        """The name as on LCLS-II: ``BeginRun``, ``L1Accept``."""
        return "L1Accept" if self is Service.L1_ACCEPT else self.name.title().replace("_", "")


class RunState(IntEnum):
    """State of a run. The numbers are those of the RunState record's choices."""

    UNCONFIGURED = 0
    CONFIGURED = 1
    RUNNING = 2
    ENABLED = 3

    @property
    def label(self) -> str:
        """The name as shown on screens: ``Enabled``."""
        return self.name.title()


COMMANDS: Final = (
    Service.CONFIGURE,
    Service.UNCONFIGURE,
    Service.BEGIN_RUN,
    Service.END_RUN,
    Service.ENABLE,
    Service.DISABLE,
)
"""The transitions that a client can ask for; all others are the timing system's alone."""


def service_by_label(label: str) -> Service:
    """Return the transition with this label, ``BeginRun``. Raises CommandError when there is none."""
    for service in Service:
        if service.label == label and service is not Service.L1_ACCEPT:
            return service
    expected = ", ".join(service.label for service in COMMANDS)
    raise CommandError(f"transition: found {label!r}, expected one of {expected}")


_LEGAL: Final = {
    (RunState.UNCONFIGURED, Service.CONFIGURE): RunState.CONFIGURED,
    # Configure and BeginRun can be repeated: a retry after a time-out must not be an error.
    (RunState.CONFIGURED, Service.CONFIGURE): RunState.CONFIGURED,
    (RunState.CONFIGURED, Service.UNCONFIGURE): RunState.UNCONFIGURED,
    (RunState.CONFIGURED, Service.BEGIN_RUN): RunState.RUNNING,
    (RunState.RUNNING, Service.BEGIN_RUN): RunState.RUNNING,
    (RunState.RUNNING, Service.END_RUN): RunState.CONFIGURED,
    (RunState.RUNNING, Service.ENABLE): RunState.ENABLED,
    (RunState.RUNNING, Service.SLOW_UPDATE): RunState.RUNNING,
    (RunState.ENABLED, Service.DISABLE): RunState.RUNNING,
    (RunState.ENABLED, Service.SLOW_UPDATE): RunState.ENABLED,
    (RunState.ENABLED, Service.L1_ACCEPT): RunState.ENABLED,
    # The steps of a scan lie between BeginRun and EndRun, and the data of each between Enable and Disable.
    (RunState.RUNNING, Service.BEGIN_STEP): RunState.RUNNING,
    (RunState.RUNNING, Service.END_STEP): RunState.RUNNING,
    **{(state, Service.CLEAR_READOUT): state for state in RunState},
}


def is_legal(state: RunState, service: Service) -> bool:
    """Return whether ``service`` is legal in ``state``."""
    return (state, service) in _LEGAL


def next_state(state: RunState, service: Service) -> RunState:
    """Return the state that ``service`` leads to.

    Raises TransitionRefusedError, with the commands that are legal now, when it is not legal in ``state``.
    """
    try:
        return _LEGAL[state, service]
    except KeyError:
        legal = ", ".join(s.label for (at, s) in _LEGAL if at is state and s in COMMANDS)
        raise TransitionRefusedError(f"{service.label} refused: the run is {state.label}; legal now: {legal}") from None


def path_to(state: RunState, target: RunState) -> list[Service]:
    """Return the transitions that lead from ``state`` to ``target``, in order."""
    if state <= target:
        return [Service.CONFIGURE, Service.BEGIN_RUN, Service.ENABLE][state:target]
    return [Service.UNCONFIGURE, Service.END_RUN, Service.DISABLE][target:state][::-1]
