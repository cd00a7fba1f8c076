"""The checks of a configuration with several hosts: each sees what runs on its own host."""

import socket
from pathlib import Path

import pytest

from detectors.config import Config, parse_config
from detectors.curve import make_keys
from detectors.workers.preflight import Finding, Level, run_checks, storage
from tests.support.ports import free_ports


@pytest.fixture(autouse=True)
def no_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no disk."""
    monkeypatch.setattr(storage, "write_rate", lambda *_: 1e9)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys", "server")
    return tmp_path / "keys"


def config(keys: Path, port_base: int = 52000, address: str = "127.0.0.1") -> Config:
    """M00 on the host of the IOC, M01 and the files on daq1, CAM and the page on daq2."""
    ports = iter(free_ports(3))
    return parse_config(f"""
        [detector]
        name = "JF"
        prefix = "T:HOSTS:"
        [control]
        port_base = {port_base}
        curve_keys = "{keys}"
        [[host]]
        name = "daq1"
        address = "{address}"
        folder = "{keys.parent}"
        [[host]]
        name = "daq2"
        address = "192.0.2.9"
        [dma]
        cfgRxCount = 4
        [disk]
        folder = "/nowhere"
        min_free = "1 MiB"
        [zmq]
        port_base = 9100
        host = "10.0.1.9"
        curve_keys = "{keys}"
        [stream]
        reduced = "tcp://10.0.1.9:9110"
        [timing]
        port = {next(ports)}
        [[udp]]
        name = "M00"
        port = {next(ports)}
        address = "127.0.0.1"
        [[udp]]
        name = "M01"
        port = {next(ports)}
        address = "127.0.0.1"
        host = "daq1"
        [[pva]]
        name = "CAM"
        pv = "X"
        dtype = "uint16"
        shape = [64, 64]
        host = "daq2"
        [hdf5]
        folder = "{keys.parent}"
        host = "daq1"
        [web]
        host = "daq2"
    """)


def found(config: Config, host: str | None, check: str) -> list[str]:
    findings = run_checks(config, cheap=True, host=host)
    return [f"{f.level.value}: {f.found}" for f in findings if f.check == check]


def only(findings: list[Finding], check: str) -> Finding:
    (one,) = [f for f in findings if f.check == check]
    return one


@pytest.mark.parametrize(("host", "expected"), [(None, ["M00"]), ("daq1", ["M01"]), ("daq2", ["timing"])])
def test_each_host_checks_its_own_ports(keys: Path, host: str | None, expected: list[str]) -> None:
    assert [line.split(":")[1].strip() for line in found(config(keys), host, "ports")] == expected


def test_the_folder_is_that_of_the_host(keys: Path) -> None:
    assert str(keys.parent) in found(config(keys), "daq1", "disk")[0]
    assert str(keys.parent) not in found(config(keys), None, "disk")[0]


def test_the_buffers_are_those_of_the_sources_of_the_host(keys: Path) -> None:
    camera, module = (found(config(keys), host, "shared memory")[0] for host in ("daq2", "daq1"))
    assert "pebbles need" in camera
    assert camera.split(",")[0] != module.split(",")[0]


def test_the_ioc_on_a_host_without_sources_needs_no_disk(keys: Path) -> None:
    moved = config(keys).model_copy(update={"udp": config(keys).udp[1:]})
    assert found(moved, None, "disk") == []
    assert found(moved, None, "ports") == []


def test_a_host_at_an_address_of_another_machine_is_an_error(keys: Path) -> None:
    assert only(run_checks(config(keys), cheap=True, host="daq1"), "host").level is Level.OK
    wrong = only(run_checks(config(keys), cheap=True, host="daq2"), "host")
    assert (wrong.level, wrong.found) == (Level.ERROR, "daq2: 192.0.2.9 is not an address of this machine")


def test_a_control_port_in_use_is_an_error(keys: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        # M01 is the second worker: the third port is that of its snapshots.
        wrong = only(run_checks(config(keys, port - 2), cheap=True, host="daq1"), "control ports")
    assert wrong.level is Level.ERROR
    assert wrong.found == f"TCP 127.0.0.1:{port}: Address already in use"
    assert found(config(keys), None, "control ports") == []


def test_keys_are_needed_on_every_host(keys: Path) -> None:
    for host in (None, "daq1", "daq2"):
        assert only(run_checks(config(keys), cheap=True, host=host), "keys").level is Level.OK
        lacking = only(run_checks(config(keys / "none"), cheap=True, host=host), "keys")
        assert lacking.level is Level.ERROR
        assert lacking.remedy.startswith(f"pebbledaq keys server --output {keys}/none")


def test_keys_that_others_can_read_are_an_error(keys: Path) -> None:
    (keys / "server.key_secret").chmod(0o644)
    finding = only(run_checks(config(keys), cheap=True), "keys")
    assert (finding.level, finding.remedy) == (Level.ERROR, f"chmod 600 {keys}/server.key_secret")


def test_keys_that_are_not_authorized_are_an_error(keys: Path) -> None:
    (keys / "authorized" / "server.key").unlink()
    finding = only(run_checks(config(keys), cheap=True), "keys")
    assert finding.level is Level.ERROR
    assert finding.remedy == f"cp {keys}/server.key {keys}/authorized/server.key"


def test_a_receiver_that_starts_checks_nothing_of_the_hosts(keys: Path) -> None:
    wanted = config(keys)
    checks = {f.check for f in run_checks(wanted, cheap=True, only=wanted.udp[1])}
    assert "ports" in checks
    assert not checks & {"host", "control ports", "keys"}


def test_each_host_lists_its_own_addresses(keys: Path) -> None:
    lists = {
        host: [f.found.split(":")[0] for f in run_checks(config(keys), host=host) if f.check == "addresses"][:-1]
        for host in (None, "daq1", "daq2")
    }
    assert lists[None][:2] == ["CA records", "PVA records"]
    assert "M00 packets" in lists[None]
    assert lists["daq1"][0] == "M01 packets"
    assert {"udp.M01 snapshots", "udp.M01 commands", "hdf5.JF commands"} <= set(lists["daq1"])
    assert lists["daq2"][:2] == ["web page", "timing"]


def test_a_name_that_is_not_resolved_is_an_error(keys: Path) -> None:
    named = config(keys, address="no-such-host.invalid")
    wrong, right = [f for f in run_checks(named) if f.check == "names"]
    assert wrong.level is Level.ERROR
    assert wrong.remedy == "give the address of the host daq1"
    assert right.found == "daq2 is at 192.0.2.9"
