"""Units and containers fit the configuration, say why, and are what systemd and a shell understand."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from detectors.config import Config, parse_config
from detectors.errors import ConfigError
from ioc.cli.deploy import command
from ioc.deploy import container, systemd
from ioc.deploy.needs import Needs
from ioc.deploy.unit import Program
from tests.support.ports import free_ports

PATH = Path("/etc/pebbledaq/a detector.toml")
MIB = 1 << 20


def text(folder: Path, extra: str = "", run: str = "") -> str:
    first, second, timing = free_ports(3)
    return f"""
        [detector]
        name = "DET"
        prefix = "T:DET:"
        [run]
        drain_s = 20
        {run}
        [timing]
        port = {timing}
        [dma]
        cfgRxCount = 20
        [disk]
        folder = "{folder}/data"
        [[udp]]
        name = "M00"
        port = {first}
        [[udp]]
        name = "M01"
        port = {second}
        enabled = false
        tuning = {{ realtime_priority = 7 }}
        dma = {{ cfgRxCount = 100, cfgSize = "1 MiB" }}
        [[pva]]
        name = "CAM"
        pv = "SIM:IMAGE"
        {extra}
    """


def config(folder: Path, extra: str = "", run: str = "") -> Config:
    return parse_config(text(folder, extra, run))


def hosts(found: Config, *, per_worker: bool = False, user: str = "daq") -> dict[str, dict[str, str]]:
    return systemd.files_by_host(found, Program("/usr/bin/true", PATH, user), per_worker=per_worker)


def units(found: Config, *, per_worker: bool = False) -> dict[str, str]:
    (files,) = hosts(found, per_worker=per_worker).values()
    return files


def section(unit: str, name: str) -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit)
    return dict(parser[name])


def test_needs_are_those_of_the_configuration(tmp_path: Path) -> None:
    needs = Needs.of(config(tmp_path))
    assert needs.receive_buffer == 100 * MIB
    assert needs.receive_buffer_why == "M01 asks for cfgRxCount 100 x cfgSize 1 MiB"
    assert needs.realtime == 7
    assert needs.stop_s == 30
    assert needs.folders == (tmp_path / "data",)
    assert needs.shm_bytes > 32 * MIB
    assert "of CAM the PV says it" in needs.shm_why
    assert needs.slug == "T-DET"


def test_the_images_for_a_function_need_shared_memory(tmp_path: Path) -> None:
    without = Needs.of(config(tmp_path)).shm_bytes
    process = '[process]\nfunction = "own:function"\nworkers = 3\nqueue = 5\ndetector = '
    needs = Needs.of(config(tmp_path, process + '"DET"'))
    assert needs.shm_bytes - without == (3 + 5) * 2 * MIB  # two modules of 1 MiB each
    assert "process 16 MiB" in needs.shm_why
    assert "of CAM, process the PV says it" in Needs.of(config(tmp_path, process + '"CAM"')).shm_why


def test_one_unit_runs_all(tmp_path: Path) -> None:
    files = units(config(tmp_path))
    assert list(files) == ["90-pebbledaq-T-DET.conf", "pebbledaq-T-DET.service"]
    assert re.search(r"^net\.core\.rmem_max = 104857600$", files["90-pebbledaq-T-DET.conf"], re.MULTILINE)
    service = section(files["pebbledaq-T-DET.service"], "Service")
    assert service["Type"] == "notify"
    assert service["ExecStart"] == '/usr/bin/true run "/etc/pebbledaq/a detector.toml"'
    assert (service["User"], service["TimeoutStopSec"], service["LimitRTPRIO"]) == ("daq", "30", "7")
    assert {"WatchdogSec", "LimitMEMLOCK", "LimitNOFILE"} <= set(service)
    assert service["KillMode"] == "process"


def test_every_setting_that_is_ours_to_explain_has_a_reason_above_it(tmp_path: Path) -> None:
    lines = units(config(tmp_path))["pebbledaq-T-DET.service"].splitlines()
    for name in (
        "WatchdogSec",
        "TimeoutStartSec",
        "TimeoutStopSec",
        "KillMode",
        "LimitRTPRIO",
        "LimitMEMLOCK",
        "LimitNOFILE",
    ):
        (place,) = [number for number, line in enumerate(lines) if line.startswith(f"{name}=")]
        assert lines[place - 1].startswith("# "), name


def test_workers_of_a_kind_share_a_template_and_the_ioc_comes_after_the_enabled_ones(tmp_path: Path) -> None:
    files = units(config(tmp_path, run="restart_workers = false"), per_worker=True)
    assert list(files)[1:] == [
        "pebbledaq-T-DET-receive@.service",
        "pebbledaq-T-DET-monitor@.service",
        "pebbledaq-T-DET-ioc.service",
        "pebbledaq-T-DET.target",
    ]
    worker = section(files["pebbledaq-T-DET-receive@.service"], "Service")
    assert worker["ExecStart"] == '/usr/bin/true receive "/etc/pebbledaq/a detector.toml" %i --state enabled'
    workers = ["pebbledaq-T-DET-receive@M00.service", "pebbledaq-T-DET-monitor@CAM.service"]
    ioc = section(files["pebbledaq-T-DET-ioc.service"], "Unit")
    assert ioc["Wants"].split() == workers
    assert ioc["After"].split()[2:] == workers
    assert ioc["PartOf"] == "pebbledaq-T-DET.target"
    wanted = section(files["pebbledaq-T-DET.target"], "Unit")["Wants"].split()
    assert wanted == [*workers, "pebbledaq-T-DET-ioc.service"]


def test_two_who_restart_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run.restart_workers: found true, expected false"):
        units(config(tmp_path), per_worker=True)


HOSTS = """
    dtype = "uint16"
    shape = [64, 64]
    [zmq]
    port_base = 52100
    host = "10.0.1.9"
    [control]
    port_base = 52000
    curve_keys = "/etc/daq keys"
    [[host]]
    name = "daq1"
    folder = "/data1"
    [[host]]
    name = "daq2"
    address = "10.0.1.2"
    [[host]]
    name = "spare"
    [[udp]]
    name = "M02"
    port = 51020
    host = "daq1"
    dma = { cfgRxCount = 50, cfgSize = "1 MiB" }
    [[udp]]
    name = "M03"
    port = 51021
    host = "daq1"
    enabled = false
    [[udp]]
    name = "M04"
    port = 51020
    host = "daq2"
    tuning = { realtime_priority = 9 }
    [stream]
    host = "daq2"
    [hdf5]
    folder = "/files"
    host = "daq2"
"""


def test_each_host_gets_what_runs_there(tmp_path: Path) -> None:
    files = hosts(config(tmp_path, HOSTS))
    name = "pebbledaq-T-DET"
    assert {host: list(found) for host, found in files.items()} == {
        "daq1": [
            f"90-{name}-daq1.conf",
            f"{name}-receive@.service",
            f"{name}-keeper@.service",
            f"{name}-daq1.target",
        ],
        "daq2": [
            f"90-{name}-daq2.conf",
            f"{name}-receive@.service",
            f"{name}-stream.service",
            f"{name}-capture@.service",
            f"{name}-keeper@.service",
            f"{name}-daq2.target",
        ],
        "ioc": [f"90-{name}.conf", f"{name}.service"],
    }
    wanted = {host: section(files[host][f"{name}-{host}.target"], "Unit")["Wants"].split() for host in ("daq1", "daq2")}
    assert wanted["daq1"] == [f"{name}-receive@M02.service", f"{name}-keeper@daq1.service"]  # M03 is not enabled
    assert wanted["daq2"] == [
        f"{name}-receive@M04.service",
        f"{name}-stream.service",
        f"{name}-capture@DET.service",
        f"{name}-capture@CAM.service",
        f"{name}-keeper@daq2.service",
    ]
    assert "rmem_max = 52428800\n" in files["daq1"][f"90-{name}-daq1.conf"]
    assert "rmem_max = 104857600\n" in files["ioc"][f"90-{name}.conf"]  # M01, which the IOC starts


def test_a_unit_of_a_host_has_the_folders_keys_and_limits_of_that_host(tmp_path: Path) -> None:
    files = hosts(config(tmp_path, HOSTS))
    first, second = (files[host]["pebbledaq-T-DET-receive@.service"] for host in ("daq1", "daq2"))
    assert section(first, "Unit")["RequiresMountsFor"] == f'"{PATH}" /data1 "/etc/daq keys"'
    assert section(second, "Unit")["RequiresMountsFor"] == f'"{PATH}" {tmp_path}/data /files "/etc/daq keys"'
    assert section(first, "Unit")["PartOf"] == "pebbledaq-T-DET-daq1.target"
    assert section(first, "Service")["LimitRTPRIO"] == "1"
    assert section(second, "Service")["LimitRTPRIO"] == "9"
    assert section(first, "Service")["Type"] == "notify"
    assert section(first, "Service")["KillMode"] == "mixed"
    assert "# daq must be able to read the keys in /etc/daq keys." in first


@pytest.mark.parametrize("per_worker", [False, True])
def test_systemd_understands_the_units(tmp_path: Path, per_worker: bool) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    found = config(tmp_path, HOSTS, "restart_workers = false")
    for host, files in hosts(found, per_worker=per_worker, user="root").items():
        folder = tmp_path / host
        folder.mkdir()
        for name, unit in files.items():
            (folder / name).write_text(unit)
        paths = [str(folder / name) for name in files if not name.endswith(".conf")]
        done = subprocess.run([analyze, "verify", *paths], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Unknown" not in done.stderr
        assert "T-DET" not in done.stderr, done.stderr


def test_systemd_finds_mistakes_in_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    broken = tmp_path / "broken.service"
    broken.write_text(units(config(tmp_path))["pebbledaq-T-DET.service"] + "[Service]\nLimitX=1\n")
    done = subprocess.run([analyze, "verify", str(broken)], capture_output=True, text=True, check=False)
    assert "LimitX" in done.stderr


def test_a_container_gets_what_the_configuration_needs(tmp_path: Path) -> None:
    found = config(tmp_path)
    files = container.files(found, PATH)
    script = files["run-container"]
    needs = Needs.of(found)
    for option in (
        "--network host",
        f"--shm-size {needs.shm_bytes}",
        "--ulimit rtprio=7",
        "--ulimit memlock=-1",
        f"--volume {tmp_path}/data:{tmp_path}/data",
        "--volume '/etc/pebbledaq/a detector.toml:/etc/pebbledaq.toml:ro'",
    ):
        assert f"  {option}" in script
        assert f"#   {option}" in script  # with its reason
    assert "STOPSIGNAL SIGTERM" in files["Containerfile"]


def test_the_script_hands_its_options_to_the_engine(tmp_path: Path) -> None:
    script = tmp_path / "run"
    script.write_text(container.files(config(tmp_path), PATH)["run-container"])
    done = subprocess.run(
        ["/bin/sh", str(script), "status"], env={"ENGINE": "echo"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("run --rm --name pebbledaq-T-DET --network host")
    assert "/etc/pebbledaq/a detector.toml:/etc/pebbledaq.toml:ro" in done.stdout
    assert done.stdout.endswith("pebbledaq status\n")


@pytest.mark.parametrize("what", ["systemd", "container"])
def test_files_are_printed_or_written(tmp_path: Path, what: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text(tmp_path))
    printed = CliRunner().invoke(command, [what, str(path)], catch_exceptions=False)
    names = re.findall(r"^#### (\S+)$", printed.output, re.MULTILINE)
    assert len(names) >= 2
    done = CliRunner().invoke(command, [what, str(path), "--output", str(tmp_path / "out")], catch_exceptions=False)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(names)
    assert done.exit_code == 0
    (tmp_path / "file").write_text("")
    failed = CliRunner().invoke(command, [what, str(path), "--output", str(tmp_path / "file" / "x")])
    assert "cannot be written" in str(failed.exception)


def test_files_of_hosts_go_to_a_folder_each_and_of_one_host_to_the_folder_given(tmp_path: Path) -> None:
    path, out = tmp_path / "c.toml", tmp_path / "out"
    path.write_text(text(tmp_path, HOSTS))
    words = ["systemd", str(path), "--output", str(out)]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert sorted(p.name for p in out.iterdir()) == ["daq1", "daq2", "ioc"]
    assert "To install them on daq1, as root:" in done.output
    assert "enable --now pebbledaq-T-DET-daq1.target" in done.output
    assert f"cp {out}/ioc/*.service /etc/systemd/system/" in done.output
    shutil.rmtree(out)
    CliRunner().invoke(command, [*words, "--host", "daq1"], catch_exceptions=False)
    assert "pebbledaq-T-DET-daq1.target" in {p.name for p in out.iterdir()}
    failed = CliRunner().invoke(command, [*words, "--host", "daq3"])
    assert str(failed.exception) == "--host: found 'daq3', expected one of daq1, daq2, ioc"
