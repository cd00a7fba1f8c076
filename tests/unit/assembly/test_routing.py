"""Whose packets are these: every answer of the router, without an assembler around it."""

import numpy as np
import pytest

from detectors.assembly.fates import Fates
from detectors.assembly.notes import Notes
from detectors.assembly.packet_run import PacketRun
from detectors.assembly.pulses import PulseTracker
from detectors.assembly.routing import Route, Router
from detectors.assembly.window import Window
from tests.unit.assembly.packets import MODULE

PACKETS = 4


def run(index: int, pulse: int | None, first: int = 0, count: int = 1) -> PacketRun:
    return PacketRun(index, pulse or 0, pulse, first, 0, 0, np.zeros((count, 8), np.uint8))


class Rig:
    """A stream whose newest frame is 100 with pulse 1000, whole and closed; window 1, frame gap 10, pulse jump 20."""

    def __init__(self) -> None:
        self.fates = Fates()
        notes = Notes("test")
        self.window = Window(PACKETS, 8, module_id=MODULE, width=1, fates=self.fates, notes=notes)
        self.pulses = PulseTracker(1, 20, is_float=True)
        self.router = Router(self.window, self.pulses, 10, self.fates, notes)
        self.router.open_gate()
        self.window.start(100, 0)
        self.begin(100, 1000, PACKETS)
        self.window.settle()

    def begin(self, index: int, pulse: int, packets: int) -> None:
        self.pulses.assign(index, pulse)
        self.window.begin(index, pulse, pulse, 0, 0).place(0, np.zeros((packets, 8), np.uint8))


@pytest.mark.parametrize(
    ("index", "pulse", "route"),
    [
        (101, 1001, Route.BEGINS),
        (101, 1020, Route.BEGINS),
        (101, None, Route.BEGINS),
        (102, 1040, Route.BEGINS),
        (101, 1021, Route.OTHER),
        (101, 1000, Route.OTHER),
        (102, 900, Route.OTHER),
        (103, 1003, Route.BEGINS),
        (103, 1004, Route.OTHER),
        (103, None, Route.OTHER),
        (110, 1010, Route.BEGINS),
        (111, 1011, Route.OTHER),
        (100, 1000, Route.COUNTED),
        (100, 2000, Route.OTHER),
        (50, 950, Route.OTHER),
    ],
)
def test_who_follows_a_stream(index: int, pulse: int | None, route: Route):
    assert Rig().router.route(run(index, pulse)) is route


def test_the_first_packet_of_a_run_begins_a_frame_whatever_it_says():
    rig = Rig()
    rig.window.newest = None
    assert rig.router.route(run(2**63, None)) is Route.BEGINS


def test_an_older_frame_of_the_window_may_begin_with_an_older_pulse():
    rig = Rig()
    rig.window.advance(102)
    rig.begin(102, 1002, 1)
    assert rig.router.route(run(101, 1001)) is Route.BEGINS
    assert rig.router.route(run(101, 1003)) is Route.OTHER


def test_packets_of_a_closed_frame_are_duplicate_or_late():
    rig = Rig()
    rig.window.advance(101)
    rig.begin(101, 1001, 2)
    rig.window.close_all()
    assert rig.router.route(run(101, 1001, first=1, count=3)) is Route.COUNTED
    assert (rig.fates.duplicate, rig.fates.late) == (1, 2)


def test_while_the_gate_is_closed_packets_are_disabled_or_duplicate():
    rig = Rig()
    rig.router.close_gate()
    assert rig.router.route(run(100, 1000, count=2)) is Route.COUNTED
    assert rig.router.route(run(101, 1001, count=3)) is Route.COUNTED
    assert (rig.fates.duplicate, rig.fates.disabled) == (2, 3)


def test_the_frame_that_passes_when_the_gate_opens_stays_disabled():
    rig = Rig()
    rig.router.close_gate()
    rig.router.saw_passing(200)
    rig.router.open_gate()
    rig.window.newest = None
    assert rig.router.route(run(200, 1100)) is Route.COUNTED
    assert rig.router.route(run(199, 1099)) is Route.COUNTED, "reordered, from before"
    assert rig.fates.disabled == 2
    assert rig.router.route(run(201, 1101)) is Route.BEGINS
    assert rig.router.lowest(201) == 201, "200 is not missed"


def test_the_frame_that_passed_is_forgotten_when_the_stream_is_far_beyond_or_another():
    rig = Rig()
    rig.router.saw_passing(200)
    rig.router.forget_passing(202)
    assert rig.router.route(run(200, 1)) is Route.COUNTED
    rig.router.forget_passing(203)
    assert rig.router.route(run(200, 1)) is Route.OTHER
    rig.router.saw_passing(200)
    assert rig.router.lowest(150) == 0
    assert rig.router.route(run(200, 1)) is Route.OTHER
