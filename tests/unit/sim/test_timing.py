import socket

import pytest

from detectors.errors import ConfigError
from detectors.run_state import Service
from detectors.wire.timing import parse_timing
from sim.clock import Schedule, Stop
from sim.timing import TimingSender


@pytest.fixture
def line():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        yield receiver


def send(line, count, **options):
    schedule = Schedule.at_rate(1000, first_pulse=70, pulse_step=10)
    sender = TimingSender(line.getsockname(), schedule, **options)
    with Stop() as stop:
        report = sender.run(stop, count=count)
    sender.close()
    sent = report.l1_accepts + report.transitions
    return schedule, [parse_timing(line.recv(100)) for _ in range(sent)], report


def test_l1_accepts_carry_pulse_and_time_of_the_schedule(line):
    schedule, events, report = send(line, 5)
    assert [e.service for e in events] == [Service.L1_ACCEPT] * 5
    assert [e.pulse_id for e in events] == [70, 80, 90, 100, 110]
    assert [e.timestamp_ns for e in events] == [schedule.epoch_ns + n * 1_000_000 for n in range(5)]
    assert [e.event_counter for e in events] == [1, 2, 3, 4, 5]
    assert (report.l1_accepts, report.lost, report.first_pulse, report.last_pulse) == (5, 0, 70, 110)


def test_transitions_of_a_run_come_around(line):
    _, events, report = send(line, 2, transitions=True)
    assert [e.service.label for e in events] == [
        "Configure",
        "BeginRun",
        "Enable",
        "L1Accept",
        "L1Accept",
        "Disable",
        "EndRun",
        "Unconfigure",
    ]
    assert [e.event_counter for e in events] == list(range(1, 9))
    assert report.transitions == 6


def test_lost_events_leave_a_gap_in_the_counter_and_repeat_by_seed(line):
    _, events, report = send(line, 40, loss=0.3, seed=5)
    assert report.lost > 0
    assert report.l1_accepts == len(events) == 40 - report.lost
    assert [e.event_counter for e in events] == [(e.pulse_id - 70) // 10 + 1 for e in events]
    _, again, _ = send(line, 40, loss=0.3, seed=5)
    assert [e.pulse_id for e in again] == [e.pulse_id for e in events]


def test_jitter_delays_but_does_not_change_stamps(line):
    schedule, events, _ = send(line, 5, jitter_s=0.002)
    assert [e.timestamp_ns for e in events] == [schedule.time_ns(n) for n in range(5)]


@pytest.mark.parametrize("options", [{"loss": 1.2}, {"loss": -1}, {"jitter_s": -0.1}, {"jitter_s": float("nan")}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="expected"):
        TimingSender(("127.0.0.1", 9), Schedule.at_rate(1), **options)
