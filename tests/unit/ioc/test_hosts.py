from collections.abc import Iterable

import pytest

from detectors.config import parse_config
from detectors.worker_names import workers
from ioc.hosts import CLOCK_KNOWN_S, START_S, ClockShown, Hosts
from ioc.roster import Roster
from ioc.status import ProcessStatus

CONFIG = parse_config("""
    [detector]
    name = "D"
    prefix = "T:"
    [control]
    port_base = 52000
    curve_keys = "/keys"
    [[host]]
    name = "daq1"
    address = "10.0.1.1"
    [[host]]
    name = "daq2"
    [[host]]
    name = "spare"
    [[udp]]
    name = "M00"
    port = 50020
    host = "daq1"
    [[udp]]
    name = "M01"
    port = 50021
    host = "daq1"
    [[udp]]
    name = "M02"
    port = 50022
    host = "daq2"
    [[udp]]
    name = "M03"
    port = 50023
    [zmq]
    port_base = 9100
    host = "10.0.1.9"
    curve_keys = "/keys"
    [stream]
    host = "daq2"
""")
LATER_S = 100.0 + START_S
NAMES = ("daq1", "daq2", "spare")


def hosts(responding: Iterable[str], disabled: Iterable[str] = ()) -> Hosts:
    """The hosts of a server that started at 100 s."""
    roster = Roster(workers(CONFIG))
    roster.responding = frozenset(responding)
    roster.processes |= {worker: ProcessStatus(enabled=worker not in disabled) for worker in roster}
    return Hosts(CONFIG, roster, 100.0)


def shown(found: Hosts, now_s: float = LATER_S) -> dict[str, tuple[str, str, int, int]]:
    fields = ("state", "message", "workers", "workers_responding")
    return {
        owner.removeprefix("host."): tuple(values[field] for field in fields)  # type: ignore[misc]
        for owner, values, valid in found.look(now_s)
        if "state" in values and valid
    }


def test_workers_belong_to_the_host_that_the_file_says() -> None:
    assert {host.section.name: host.workers for host in hosts(())} == {
        "daq1": ("udp.M00", "udp.M01"),
        "daq2": ("udp.M02", "stream"),
        "spare": (),
    }


def test_hosts_respond_partly_or_are_silent() -> None:
    assert shown(hosts(["udp.M00", "udp.M02", "stream"])) == {
        "daq1": ("Partly", "no answer from udp.M01", 2, 1),
        "daq2": ("Responding", "", 2, 2),
        "spare": ("Off", "", 0, 0),
    }
    silent = shown(hosts(["udp.M03"]))["daq1"]
    assert silent == (
        "Silent",
        "no answer from 10.0.1.1 (udp.M00, udp.M01): is the host up?",
        2,
        0,
    )


def test_workers_that_are_not_to_run_are_not_missed() -> None:
    assert shown(hosts(["udp.M00"], disabled=["udp.M01"]))["daq1"] == ("Responding", "", 1, 1)
    assert shown(hosts([], disabled=["udp.M00", "udp.M01"]))["daq1"] == ("Off", "", 0, 0)


def test_while_the_server_starts_its_workers_may_still_come() -> None:
    found = hosts(["udp.M00"])
    assert shown(found, LATER_S - 0.1)["daq1"] == ("Starting", "", 2, 1)
    assert shown(found, LATER_S)["daq1"][0] == "Partly"


@pytest.mark.parametrize(
    ("responding", "age_s", "valid"),
    [
        (["udp.M01"], 0.0, True),
        (["udp.M01"], CLOCK_KNOWN_S, True),
        (["udp.M01"], CLOCK_KNOWN_S + 0.1, False),
        ([], 0.0, False),
    ],
    ids=["new", "old", "too old", "silent"],
)
def test_a_clock_is_known_for_a_while_and_while_a_worker_responds(
    responding: list[str], age_s: float, valid: bool
) -> None:
    found = hosts(responding)
    next(iter(found)).measured(ClockShown(offset_ms=1.5, state="Synchronised"), LATER_S)
    clocks = [(values, valid) for _, values, valid in found.look(LATER_S + age_s) if "clock.state" in values]
    assert [known for _, known in clocks] == [valid, False, False]
    assert clocks[0][0]["clock.offset_ms"] == 1.5
    assert clocks[1][0]["clock.state"] == "Unknown"
