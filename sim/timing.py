"""The simulated timing system: L1Accepts at a rate, and the transitions of a run around them."""

import dataclasses
import socket
import time
from dataclasses import dataclass

import numpy as np

from detectors.errors import ConfigError, HostError
from detectors.run_state import RunState, Service, path_to
from detectors.wire.timing import TimingEvent, encode_timing
from sim.clock import Schedule, Stop, events


@dataclass(slots=True)
class TimingReport:
    """What a timing source did."""

    l1_accepts: int = 0
    """L1Accepts sent."""
    lost: int = 0
    """L1Accepts left out on purpose; the event counter counts them."""
    transitions: int = 0
    first_pulse: int = 0
    last_pulse: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return it for JSON."""
        return dataclasses.asdict(self)


class TimingSender:
    """Sends timing headers to ``address``: event n of the schedule is one L1Accept, stamped with exactly its time.

    ``transitions``: Configure, BeginRun and Enable go before, Disable, EndRun and Unconfigure after. ``loss`` is the
    fraction of L1Accepts left out, ``jitter_s`` the most that one is sent after its time; both repeat by ``seed``.
    Raises ConfigError for a loss or jitter out of range, HostError when the network refuses.
    """

    def __init__(
        self,
        address: tuple[str, int],
        schedule: Schedule,
        *,
        transitions: bool = False,
        loss: float = 0.0,
        jitter_s: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not 0 <= loss <= 1:
            raise ConfigError(f"loss: found {loss}, expected a fraction from 0 to 1")
        if not 0 <= jitter_s < float("inf"):
            raise ConfigError(f"jitter: found {jitter_s} s, expected a time of 0 or more")
        self.schedule = schedule
        self.report = TimingReport()
        self._address = address
        self._transitions = transitions
        self._loss = loss
        self._jitter_s = jitter_s
        self._random = np.random.default_rng(seed)
        self._counter = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def run(self, stop: Stop, *, count: int | None = None, seconds: float | None = None) -> TimingReport:
        """Send ``count`` L1Accepts, or for ``seconds``, or until the stop; return what was sent."""
        r = self.report
        r.first_pulse = self.schedule.pulse_id(self.schedule.next_event(time.time_ns()))
        r.last_pulse = r.first_pulse
        if self._transitions:
            self._send_transitions(RunState.UNCONFIGURED, RunState.ENABLED)
        for n in events(self.schedule, stop, count=count, seconds=seconds):
            late_s = self._random.random() * self._jitter_s
            lost = self._random.random() < self._loss
            if late_s:
                stop.wait(late_s)
            r.last_pulse = self.schedule.pulse_id(n)
            if lost:
                self._counter += 1
                r.lost += 1
            else:
                self._send(Service.L1_ACCEPT, r.last_pulse, self.schedule.time_ns(n))
                r.l1_accepts += 1
        if self._transitions:
            self._send_transitions(RunState.ENABLED, RunState.UNCONFIGURED)
        return r

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send_transitions(self, state: RunState, target: RunState) -> None:
        for service in path_to(state, target):
            self._send(service, self.report.last_pulse, time.time_ns())
            self.report.transitions += 1

    def _send(self, service: Service, pulse_id: int, timestamp_ns: int) -> None:
        self._counter += 1
        event = TimingEvent(service, pulse_id, timestamp_ns, self._counter)
        try:
            self._socket.sendto(encode_timing(event), self._address)
        except OSError as error:
            raise HostError(
                f"timing to {self._address[0]}:{self._address[1]}: {error.strerror}; check the address and the route"
            ) from None
