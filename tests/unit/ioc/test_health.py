from dataclasses import dataclass
from typing import Any

from ioc.bindings import StaticRecord, StatusBinding
from ioc.events import EventLog
from ioc.health import HealthWatch


@dataclass
class Shown:
    """A reading as ``HealthWatch`` sees it."""

    field: str
    text: str
    severity: int = 0
    kind: str = "int64in"
    owner: str = "udp.M00"

    @property
    def binding(self) -> StatusBinding:
        return StatusBinding(
            StaticRecord(self.kind, self.name, {"DESC": f"what {self.field} is"}), self.field, self.owner
        )

    @property
    def name(self) -> str:
        return f"T:{self.field}"

    @property
    def is_state(self) -> bool:
        return self.kind == "mbbi"

    @property
    def state_severity(self) -> int:
        return self.severity


def health() -> tuple[Any, EventLog]:
    events = EventLog(lambda: 0)
    return HealthWatch(events, "T:"), events


def test_the_text_stays_while_the_cause_is_the_same() -> None:
    watch, _ = health()
    first, second = Shown("recent.a", "0"), Shown("recent.b", "3 packets", 1)
    assert watch.look([first, second]) == ("Minor", "recent.b: 3 packets (what recent.b is)")
    second.text, first.text, first.severity = "7 packets", "1", 1
    assert watch.look([first, second]) == ("Minor", "recent.b: 3 packets (what recent.b is)")
    second.severity = 2
    assert watch.look([first, second]) == ("Major", "recent.b: 7 packets (what recent.b is)")
    first.severity = second.severity = 0
    assert watch.look([first, second]) == ("None", "OK")


def test_a_state_comes_first_and_its_message_is_followed() -> None:
    watch, _ = health()
    lost, state, message = Shown("lost", "9", 2), Shown("state", "Failed", 2, "mbbi"), Shown("message", "why")
    assert watch.look([lost, state, message]) == ("Major", "state: Failed (why)")
    message.text = "other"
    assert watch.look([lost, state, message]) == ("Major", "state: Failed (other)")


def test_the_state_of_a_silent_host_comes_before_those_of_its_workers() -> None:
    watch, _ = health()
    worker, host = (
        Shown("state", text, 3, "mbbi", owner) for text, owner in (("Failed", "udp.M00"), ("Silent", "host.daq1"))
    )
    clock = Shown("clock.state", "Unknown", 3, "mbbi", "host.daq1")
    message = Shown("message", "no answer", owner="host.daq1")
    assert watch.look([worker, clock, host, message]) == ("Invalid", "state: Silent (no answer)")


def test_losses_are_events_when_they_begin_and_end() -> None:
    watch, events = health()
    lost = Shown("recent.lost", "3 packets", 1)
    watch.look([lost])
    lost.severity = 3  # the worker is gone: nothing is known
    watch.look([lost])
    lost.severity, lost.text = 0, "0 packets"
    watch.look([lost])
    assert [(event.source, event.text) for event in events.kept] == [
        ("recent.lost", "ended: 0 packets (what recent.lost is)"),
        ("recent.lost", "3 packets (what recent.lost is)"),
    ]


def test_every_state_of_a_worker_is_an_event_and_of_its_outputs_those_that_alarm() -> None:
    watch, events = health()
    watch.state_changed(Shown("state", "Receiving", 0, "mbbi"), "Starting")
    watch.state_changed(Shown("run_state", "Enabled", 0, "mbbi"), "Running")
    watch.state_changed(Shown("disk.state", "Writing", 0, "mbbi"), "Idle")
    watch.state_changed(Shown("disk.state", "Full", 2, "mbbi"), "Writing")
    watch.state_changed(Shown("disk.state", "Idle", 0, "mbbi"), "Full")
    assert [(event.severity, event.source, event.text) for event in reversed(events.kept)] == [
        (0, "state", "Starting -> Receiving"),
        (2, "disk.state", "Full"),
        (0, "disk.state", "ended: Full -> Idle"),
    ]
