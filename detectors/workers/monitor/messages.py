"""What goes into the monitor's state machine and what comes out of it: plain values."""

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeAlias

from detectors.assembly.datagram import DatagramLayout
from detectors.assembly.match import Discarded, Settled
from detectors.errors import ConfigError, PebbleDaqError
from detectors.pools.sizing import BufferPlan
from detectors.run_state import Service
from detectors.sources.image_sink import Description
from detectors.wire.timing import TimingEvent
from detectors.workers.monitor.update_slots import UpdateMemory


@dataclass(frozen=True, slots=True)
class PvState:
    """What is known of one PV at present."""

    up: bool = False
    """Whether it is connected and has sent an array."""
    description: Description | None = None
    """Of the arrays that it sends, or sent last; None before the first, or when they disagree with the configuration."""
    refusal: ConfigError | None = None
    """How they disagree with it."""
    message: str = ""
    """Why no array arrives, or why it cannot be used; empty when all is well."""

    def fits(self, planned: Description) -> bool:
        """Whether its arrays fit what was made for ``planned``; their codec does not matter."""
        if self.refusal:
            return False
        own = self.description or planned
        return (own.payload_bytes, own.shape, own.dtype) == (planned.payload_bytes, planned.shape, planned.dtype)


# --- inputs


@dataclass(frozen=True, slots=True)
class Staged:
    """One update of a PV in its memory."""

    pv: int
    buffer: UpdateMemory
    nbytes: int
    unique_id: int | None
    """Unwrapped; None when the source has none."""
    timestamp_ns: int
    arrived_ns: int
    """By the monotonic clock."""
    attributes: Mapping[str, Any]
    """NDAttributes by name."""


@dataclass(frozen=True, slots=True)
class PvChanged:
    """A PV has another state. With ``waits`` its source stands still until it is let on (``Resume``)."""

    pv: int
    state: PvState
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Timed:
    """An event of the timing stream."""

    event: TimingEvent
    arrived_ns: int
    """By the monotonic clock."""


@dataclass(frozen=True, slots=True)
class RunCommand:
    """A transition that a command asks for; its turn comes behind the events before it."""

    service: Service
    answer: "Future[str]"
    """Gets the run state that it led to, or why it was refused or failed."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The highest pulse_id that is taken, on disk or in an earlier life: those made here go on above it."""

    pulse_id: int


Input = Staged | PvChanged | Timed | RunCommand | Taken


# --- actions


@dataclass(frozen=True, slots=True)
class Count:
    """Add to counters of UpdateStats."""

    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Begin:
    """Claim a command. The reply is whether it is still wanted: a cancelled one must not run."""

    command: RunCommand


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a command that was begun."""

    command: RunCommand
    result: str | PebbleDaqError


@dataclass(frozen=True, slots=True)
class Gate:
    """Take updates from now on, or take no more. The reply is what had come in until then."""

    open: bool


@dataclass(frozen=True, slots=True)
class Build:
    """Make pools and outputs, and give each PV its slots. The reply is None, or the HostError that refused it."""

    plan: BufferPlan
    layout: DatagramLayout
    arrays: Sequence[Description]


@dataclass(frozen=True, slots=True)
class Restage:
    """Make larger transition slots and keep the records: events are truncated."""

    layout: DatagramLayout
    arrays: Sequence[Description]


@dataclass(frozen=True, slots=True)
class Free:
    """Let the outputs finish, and free pools and outputs."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Let the source of a PV go on that waits for slots."""

    pv: int


Action = Settled[Staged] | Discarded[Staged] | Count | Begin | Answer | Gate | Build | Restage | Free | Resume
"""``Settled`` is an event with data to place; ``Discarded`` an update to give back."""

Steps: TypeAlias = Generator[Action, Any, None]
"""Actions; each yields its reply."""
