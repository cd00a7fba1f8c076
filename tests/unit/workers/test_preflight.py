import json
import re
import socket
import subprocess
import sys
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from detectors.config import Config, parse_config
from detectors.interfaces import interfaces
from detectors.workers.preflight import Finding, Level, addresses, network, run_checks, storage
from ioc.plan import plan_source_by_source
from tests.support.ports import taken_udp_port

INTERFACES = {
    name: IPv4Interface(address)
    for name, address in (("lo", "127.0.0.1/8"), ("office", "192.0.2.2/24"), ("data", "10.1.0.5/16"))
}


def config(folder: Path, extra: str = "", port: int = 0) -> Config:
    if not port:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    return parse_config(
        f"""
        [detector]
        name = "JF"
        prefix = "T:PRE:"
        [dma]
        cfgRxCount = 4
        [disk]
        folder = "{folder}"
        min_free = "1 MiB"
        [[udp]]
        name = "M00"
        expect_module_id = 0
        address = "127.0.0.1"
        port = {port}
        {extra}
        """
    )


def by_check(findings: list[Finding], check: str) -> list[Finding]:
    found = [f for f in findings if f.check == check]
    assert found, f"no finding of {check} among {[f.check for f in findings]}"
    return found


def test_every_finding_that_is_not_ok_says_what_to_type(tmp_path: Path) -> None:
    findings = run_checks(config(tmp_path))
    assert {f.check for f in findings} >= {
        "receive buffer",
        "MTU",
        "memory",
        "shared memory",
        "disk",
        "write rate",
        "open files",
        "processors",
        "ports",
        "clock",
        "packages",
    }
    for finding in findings:
        assert finding.found
        assert bool(finding.remedy) == (finding.level is not Level.OK), finding


def test_cheap_checks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "write_rate", lambda *_: pytest.fail("wrote"))
    assert all(f.check != "write rate" for f in run_checks(config(tmp_path), cheap=True))


def test_a_small_receive_buffer_is_named_with_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "granted_receive_buffer", lambda *_: 212_992)
    finding = by_check(run_checks(config(tmp_path), cheap=True), "receive buffer")[0]
    assert finding.level is Level.ERROR
    assert "asked 4194304 bytes, got 212992: room for 0 frame(s)" in finding.found
    assert finding.remedy.startswith("sysctl -w net.core.rmem_max=4194304")


def test_a_buffer_of_a_few_frames_tells_how_many_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "granted_receive_buffer", lambda *_: 3 << 20)
    finding = by_check(run_checks(config(tmp_path), cheap=True), "receive buffer")[0]
    assert finding.level is Level.WARNING
    assert finding.found.endswith("got 3145728: room for 3 frame(s)")


def test_a_port_in_use_is_an_error(tmp_path: Path) -> None:
    with taken_udp_port() as port:
        finding = by_check(run_checks(config(tmp_path, port=port), cheap=True), "ports")[0]
    assert finding.level is Level.ERROR
    assert f"UDP 127.0.0.1:{port}: Address already in use" in finding.found


def test_pools_beyond_the_memory_are_an_error(tmp_path: Path) -> None:
    big = "pools.pebbleBufCount = 1048576"
    findings = run_checks(config(tmp_path, big), cheap=True)
    for check in ("shared memory", "memory"):
        finding = by_check(findings, check)[0]
        assert finding.level is Level.ERROR
        fits = re.search(r"set pebbleBufCount = (\d+), and cfgRxCount below it", finding.remedy)
        assert fits, finding
        smaller = run_checks(config(tmp_path, f"pools.pebbleBufCount = {fits[1]}"), cheap=True)
        assert by_check(smaller, "memory")[0].level is Level.OK


def test_a_plan_that_breaks_a_rule_is_an_error(tmp_path: Path) -> None:
    finding = by_check(run_checks(config(tmp_path, "pools.pebbleBufCount = 3"), cheap=True), "memory")[0]
    assert finding.level is Level.ERROR
    assert "power of two" in finding.found


def test_processors_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    findings = by_check(run_checks(config(tmp_path, "tuning.cpus = [4095]"), cheap=True), "processors")
    assert any(f.level is Level.ERROR and "4095" in f.found for f in findings)


def test_too_little_space_is_an_error(tmp_path: Path) -> None:
    low = config(tmp_path)
    assert low.disk is not None
    low = low.model_copy(update={"disk": low.disk.model_copy(update={"min_free": 1 << 60})})
    assert by_check(run_checks(low, cheap=True), "disk")[0].level is Level.ERROR


def test_a_keep_size_below_the_files_being_written_is_a_warning(tmp_path: Path) -> None:
    found = config(tmp_path)
    assert found.disk is not None
    record_bytes, least = 41 + (1 << 20), 3 * 1000 * (41 + (1 << 20))
    findings: list[Finding] = []
    for keep, warned in ((None, False), (least, False), (least - record_bytes, True), (6 << 20, True)):
        kept = found.model_copy(update={"disk": found.disk.model_copy(update={"keep_size": keep})})
        findings = [f for f in run_checks(kept, cheap=True) if f.check == "retention"]
        assert [f.level for f in findings] == [Level.WARNING] * warned
    (finding,) = findings
    assert (
        finding.found
        == "disk.keep_size is 6 MiB, but the files that are being written take 2.93 GiB, and are never deleted"
    )


def test_the_write_probe_leaves_nothing(tmp_path: Path) -> None:
    assert storage.write_rate(tmp_path, 8 << 20) > 0
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_json_and_tells_by_its_exit_code(tmp_path: Path) -> None:
    with taken_udp_port() as port:
        path = tmp_path / "c.toml"
        path.write_text(
            f'[detector]\nname = "J"\nprefix = "T:"\n[dma]\ncfgRxCount = 4\n[[udp]]\nname = "M00"\nexpect_module_id = 0\naddress = "127.0.0.1"\nport = {port}\n'
        )
        done = subprocess.run(
            [sys.executable, "-m", "ioc", "check", str(path), "--json"], capture_output=True, text=True, check=False
        )
    assert done.returncode == 1, done.stderr
    findings = json.loads(done.stdout)
    assert any(f["check"] == "ports" and f["level"] == "error" for f in findings)


def test_every_address_is_listed_with_who_can_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "interfaces", lambda: INTERFACES)
    more = """
        [ioc]
        interfaces = ["127.0.0.1", "10.1.0.5"]
        [timing]
        port = 50100
        address = "239.255.50.1"
        [zmq]
        port_base = 9100
        host = "10.1.0.5"
        [stream]
        full = "tcp://*:9200"
        reduced = "tcp://data:9201"
        pulse = "ipc:///tmp/pulse"
        [[pva]]
        name = "CAM"
        pv = "SIM:IMAGE"
    """
    monkeypatch.setenv("EPICS_CAS_SERVER_PORT", "6064")
    monkeypatch.delenv("EPICS_PVAS_SERVER_PORT", raising=False)
    monkeypatch.delenv("EPICS_PVA_SERVER_PORT", raising=False)
    found = [f.found for f in by_check(run_checks(config(tmp_path, more, port=50020)), "addresses")]
    assert found[:-1] == [
        "CA records: 127.0.0.1:6064: this host only",
        "CA records: 10.1.0.5:6064: everyone who can reach data (10.1.0.5/16)",
        "PVA records: 127.0.0.1:5075: this host only",
        "PVA records: 10.1.0.5:5075: everyone who can reach data (10.1.0.5/16)",
        "M00 packets: 127.0.0.1:50020: this host only",
        "timing: 239.255.50.1:50100: everyone whose packets to this group reach this host",
        "M00 stream: 10.1.0.5:9100: everyone who can reach data (10.1.0.5/16)",
        "CAM stream: 10.1.0.5:9101: everyone who can reach data (10.1.0.5/16)",
        "full stream: *:9200: everyone who can reach office (192.0.2.2/24), data (10.1.0.5/16)",
        "reduced stream: data:9201: everyone who can reach data (10.1.0.5/16)",
    ]
    assert found[-1].endswith("this account only")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, [("", 5064)]),
        ({"EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1 10.1.0.5:6000"}, [("127.0.0.1", 5064), ("10.1.0.5", 6000)]),
    ],
)
def test_without_interfaces_those_of_epics_count(
    tmp_path: Path, variables: dict[str, str], expected: list[tuple[str, int]]
) -> None:
    found = addresses.listening(config(tmp_path), variables)
    assert [(address, port) for name, address, port in found if name == "CA records"] == expected


def test_images_over_pva_have_a_port_of_their_own(tmp_path: Path) -> None:
    found = addresses.listening(config(tmp_path, '[ioc]\ninterfaces = ["127.0.0.1"]\n[images]\nport = 6001\n'), {})
    assert ("PVA images", "127.0.0.1", 6001) in list(found)


@pytest.mark.parametrize(
    ("address", "who"),
    [
        ("localhost", "this host only"),
        ("127.3.0.1", "this host only"),
        ("10.9.9.9", "no interface of this host has this address"),
        ("detector", "detector is not known here"),
    ],
)
def test_who_can_reach_an_address(address: str, who: str) -> None:
    assert addresses.who_reaches(address) == who


def test_the_loopback_interface_is_found() -> None:
    assert "127.0.0.1/8" in map(str, interfaces().values())


def test_a_keep_size_is_for_each_host(tmp_path: Path) -> None:
    text = f'[detector]\nname = "D"\nprefix = "T:"\n[disk]\nfolder = "{tmp_path}"\nkeep_size = "{{}} GiB"\n'
    text += '[control]\nport_base = 52000\ncurve_keys = "/keys"\n'
    for number in range(4):
        text += f'[[host]]\nname = "h{number}"\n' if number < 2 else ""
        text += f'[[udp]]\nname = "M0{number}"\nport = {5000 + number}\nexpect_module_id = {number}\nhost = "h{number % 2}"\n'
    for keep_gib, expected in (
        (6, ""),
        (5, "disk.keep_size is 5 GiB, but the files that are being written take 5.86 GiB"),
    ):
        config = parse_config(text.format(keep_gib))
        assert storage.keep_size_shortfall(config, plan_source_by_source(config)).partition(", and are")[0] == expected


@pytest.mark.parametrize(
    ("pulse_from", "hosts", "warned"),
    [("framenum", ("daq1", "daq2"), True), ("framenum", ("daq1", "daq1"), False), ("bunchid", ("daq1", "daq2"), False)],
)
def test_modules_on_several_hosts_that_count_pulses_by_themselves_are_warned_of(
    tmp_path: Path, pulse_from: str, hosts: tuple[str, str], warned: bool
) -> None:
    module = f'host = "{hosts[0]}"\npulse_from = "{pulse_from}"\n[[udp]]\nname = "M01"\nport = 1\nhost = "{hosts[1]}"\n'
    more = (
        f'{module}pulse_from = "{pulse_from}"\n[[host]]\nname = "daq1"\n[[host]]\nname = "daq2"\n'
        '[control]\nport_base = 52000\ncurve_keys = "/keys"\n'
    )
    found = [f for f in run_checks(config(tmp_path, more), cheap=True) if f.check == "pulse ids"]
    assert [f.level for f in found] == [Level.WARNING] * warned
