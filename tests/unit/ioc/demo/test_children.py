import socket
import time

import pytest

from detectors.errors import HostError
from ioc.demo.children import Child, clean_environment, epics_environment, free_ports


@pytest.fixture
def start():
    children = []

    def start_one(*arguments):
        child = Child("child", [str(a) for a in arguments], clean_environment())
        children.append(child)
        return child

    yield start_one
    for child in children:
        child.end()


def port():
    return free_ports(1)[0]


def test_a_source_is_ready_then_told_to_start_then_reports(start):
    child = start("sim", "timing", port(), "--epoch-ns", "-", "--rate", 100, "--frames", 3, "--start", 50)
    assert child.wait_ready(time.monotonic() + 30).startswith("READY {")
    assert child.running
    child.write_line(str(time.time_ns()))
    assert child.wait(30) == 0
    assert child.report()["l1_accepts"] == 3
    with pytest.raises(HostError, match="ended by itself"):
        child.check()


def test_ending_a_source_lets_it_report(start):
    child = start("sim", "udp", port(), "--rate", 100)
    child.wait_ready(time.monotonic() + 30)
    assert child.end() == 0
    assert "frames" in child.report()
    assert child.end() == 0


def test_the_end_of_its_input_ends_a_source(start):
    child = start("sim", "udp", port(), "--epoch-ns", "-")
    child.wait_ready(time.monotonic() + 30)
    child.write_line(str(time.time_ns()))
    child._process.stdin.close()
    assert child.wait(30) == 0


def test_one_that_fails_is_quoted(start):
    child = start("sim", "udp", "no-port")
    with pytest.raises(HostError, match="ended before it was ready; it said:") as caught:
        child.wait_ready(time.monotonic() + 30)
    assert "child: pebbledaq: Invalid value for 'ADDRESS': found 'no-port', expected host:port" in str(caught.value)
    with pytest.raises(HostError, match="gave no report"):
        child.report()


def test_one_that_is_late_is_not_waited_for_for_ever(start):
    child = start("sim", "udp", port(), "--rate", 1)
    with pytest.raises(HostError, match="not ready in time"):
        child.wait_ready(time.monotonic())


def test_ports_are_different_and_free_and_no_client_gets_one():
    ports = free_ports(8)
    assert len(set(ports)) == 8
    assert max(ports) < 32768  # net.ipv4.ip_local_port_range
    for number in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", number))


def test_nothing_of_our_own_epics_environment_reaches_a_child(monkeypatch):
    monkeypatch.setenv("EPICS_CA_ADDR_LIST", "10.0.0.255")
    environment = {**clean_environment(), **epics_environment(1, 2, 3, 4, 5)}
    assert environment["EPICS_CA_ADDR_LIST"] == "127.0.0.1"
    assert "EPICS_CA_ADDR_LIST" not in clean_environment()
    assert environment["EPICS_PVA_ADDR_LIST"] == "127.0.0.1:4 127.0.0.1:5"
