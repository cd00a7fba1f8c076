"""How the soft-IOC starts and ends, and what it leaves: nothing."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.epics_env import epics_variables
from tests.support.ioc_process import IocProcess, leftovers, worker_processes
from tests.support.ioc_setup import M00, SOURCES, prefix_of, receiving, start, write_config
from tests.support.ports import free_ports, taken_udp_port
from tests.support.process import ROOT, Process, run

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("runtime_dir")]


def failed_start(config: Path) -> tuple[int, list[str]]:
    """Exit code and error lines of an IOC that cannot start."""
    done = run("run", str(config))
    assert "READY" not in done.stdout
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("pebbledaq: ")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_all_its_workers(tmp_path: Path, number: int) -> None:
    with start(write_config(tmp_path)) as ioc:
        receiving(ioc)
        assert len(worker_processes(ioc.prefix)) == 3
        ioc.runtime.shm(M00).write_bytes(b"a pebble")
        assert ioc.stop(number) == 0
        ioc.runtime.shm(M00).unlink(missing_ok=True)
        assert ioc.leftovers() == []
        assert not ioc.runtime.folder.exists()


def test_a_deaf_worker_is_killed_and_cleared_away(tmp_path: Path) -> None:
    with start(write_config(tmp_path), "udp.M00=--deaf") as ioc:
        receiving(ioc)
        ioc.runtime.shm(M00).write_bytes(b"a pebble")
        ioc.stop_clean()


def test_a_worker_that_refuses_its_configuration_stays_down(tmp_path: Path) -> None:
    with start(write_config(tmp_path), "udp.M01=--exit-code=2") as ioc:
        ioc.until("M01:State_RBV", "Failed")
        ioc.until("M01:Message_RBV", "ended with exit code 2: it cannot be done")
        assert ioc.value("M01:Restarts_RBV") == 0
        ioc.wait_for(r"udp\.M01: pebbledaq: it cannot be done$")
        ioc.wait_for(r"it cannot be done; stays down$")
        ioc.until("M00:State_RBV", "Receiving")
        ioc.until("Health_RBV", "M01:State_RBV: Failed (ended with exit code 2: it cannot be done)")
        assert ioc.stop() == 0


def test_a_worker_that_fails_otherwise_is_tried_again(tmp_path: Path) -> None:
    with start(write_config(tmp_path), "udp.M01=--exit-code=1") as ioc:
        ioc.until("M01:Restarts_RBV", lambda n: n >= 2)
        ioc.wait_for("will be restarted")


def test_without_restarts_a_killed_worker_stays_down(tmp_path: Path) -> None:
    with start(write_config(tmp_path, "[run]\nrestart_workers = false\n")) as ioc:
        receiving(ioc)
        os.kill(ioc.value("M00:Pid_RBV"), signal.SIGKILL)
        ioc.until("M00:State_RBV", "Failed")
        ioc.wait_for("stays down$")
        ioc.put("M00:Run", 0)
        ioc.until("M00:State_RBV", "Off")
        ioc.put("M00:Run", 1)
        ioc.until("M00:State_RBV", "Receiving")


def test_without_autostart_the_run_waits(tmp_path: Path) -> None:
    with start(write_config(tmp_path, "[run]\nautostart = false\n")) as ioc:
        receiving(ioc)
        assert ioc.value("RunState_RBV") == "Unconfigured"
        assert ioc.value("Acquire") == "Done"
        assert ioc.ask(M00, "status")["run_state"] == "Unconfigured"
        ioc.put("Acquire", 1, wait=False)
        ioc.until("RunState_RBV", "Enabled")
        assert ioc.ask(M00, "status")["run_state"] == "Enabled"


def test_a_source_that_is_off_is_not_started(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace('name = "M01"', 'name = "M01"\nenabled = false'))
    with start(config) as ioc:
        ioc.until("M00:State_RBV", "Receiving")
        assert ioc.value("M01:State_RBV") == "Off"
        assert ioc.value("M01:Run") == "Stop"
        ioc.until("Workers_RBV", 2)
        ioc.put("M01:Run", 1)
        ioc.until("M01:State_RBV", "Receiving")


def test_workers_outlive_a_killed_ioc_and_are_adopted_as_they_are(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with start(config) as first:
        receiving(first)
        first.put("Disable", 1)
        first.put("M00:Disk:On", 0)
        first.put("Disk:Folder", "/tmp/moved")
        first.ask(M00, "set", **{"packets.received": 77})
        pids = {name: first.until(f"{name}:Pid_RBV", bool) for name in SOURCES}
        first.stop(signal.SIGKILL)
    assert first.ask(M00, "status")["packets"]["received"] == 77
    with start(config) as second:
        receiving(second)
        for name in SOURCES:
            second.until(f"{name}:Pid_RBV", pids[name])
        second.until("M00:Adopted_RBV", "Yes")
        second.until("M00:PacketsReceived_RBV", 77)
        assert second.value("M00:Restarts_RBV") == 0
        second.until("RunState_RBV", "Running")
        assert second.value("Acquire") == "Done"
        assert second.value("M00:Disk:On") == "Off"
        assert second.value("M01:Disk:On") == "On"
        assert second.value("M01:Disk:Folder") == "/tmp/moved"
        os.kill(pids["M01"], signal.SIGKILL)  # no child of this IOC, and noticed all the same
        second.until("M01:State_RBV", "Failed")
        second.until("M01:Disk:Folder_RBV", "/tmp/moved/DET")
        second.until("M01:RunState_RBV", "Running")  # once its outputs are as they were
        second.stop_clean()


def test_a_second_ioc_of_the_same_prefix_is_refused(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with start(config) as ioc:
        code, lines = failed_start(config)
        assert code == 1
        assert lines == [
            f"pebbledaq: ioc: already running as process {ioc.process.pid} for prefix {ioc.prefix}; stop that first"
        ]
        receiving(ioc)


def test_a_port_in_use_stops_the_start(tmp_path: Path) -> None:
    with taken_udp_port() as port:
        config = write_config(tmp_path, ports=(port, free_ports(1)[0]))
        code, lines = failed_start(config)
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("pebbledaq: ports: ")
    assert str(port) in lines[0]
    assert leftovers(prefix_of(config)) == []


def test_a_root_that_is_not_mounted_stops_the_start(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    text = config.read_text().replace(f'"{tmp_path}/data"', f'"{tmp_path}/disk/data"')
    config.write_text(re.sub(r"roots = .*", f'roots = ["{tmp_path}/disk"]', text))
    code, lines = failed_start(config)
    assert code == 1
    assert f"disk.folder: the root {tmp_path}/disk does not exist; mount its disk or create it on the host" in lines[-1]
    assert not (tmp_path / "disk").exists()


def test_a_folder_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    text = config.read_text().replace(f"{tmp_path}/data", "/proc/data").replace("roots = [", 'roots = ["/proc", ')
    config.write_text(text)
    code, lines = failed_start(config)
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("pebbledaq: disk.folder: /proc/data cannot be written")
    assert leftovers(prefix_of(config)) == []


def test_too_little_memory_stops_the_start(tmp_path: Path) -> None:
    config = write_config(tmp_path, "[pools]\npebbleBufCount = 16777216\n")
    code, lines = failed_start(config)
    assert code == 1
    assert lines
    assert all("memory" in line for line in lines)
    assert leftovers(prefix_of(config)) == []


def test_a_wrong_configuration_stops_the_start_with_every_mistake(tmp_path: Path) -> None:
    config = write_config(tmp_path, "[pools]\npebbleBufCount = 100\ntransitionBufCount = 3\n")
    code, lines = failed_start(config)
    assert code == 2
    assert len(lines) >= 1
    config = write_config(tmp_path, "[zqm]\nenabled = true\n")
    code, lines = failed_start(config)
    assert code == 2
    assert "zqm: unknown key" in lines[0]


def test_a_source_that_collides_with_other_records_stops_the_start(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace('name = "M00"', 'name = "Retention"'))
    code, lines = failed_start(config)
    assert code == 2
    assert "is made twice; give the source 'Retention' another name" in lines[0]


@pytest.mark.parametrize(
    ("template", "old", "new", "expected"),
    [
        (
            "module.template",
            '"packets.late $(W)"',
            '"packets.lots $(W)"',
            "bound to 'packets.lots', which udp.M00 does not have",
        ),
        ("detector.template", '"acquire"', '"acquire_end"', "handler 'acquire' is bound to no record"),
        ("dma.template", "field(CALC,", "field(CLAC,", "dma.template: EPICS refused it"),
    ],
)
def test_records_that_do_not_fit_the_program_stop_the_start(
    tmp_path: Path, template: str, old: str, new: str, expected: str
) -> None:
    config, changed = write_config(tmp_path), tmp_path / "db"
    shutil.copytree(ROOT / "db", changed)
    text = (changed / template).read_text()
    assert old in text
    (changed / template).write_text(text.replace(old, new))
    script = (
        "import sys; from pathlib import Path; import ioc.templates; from tests.support import fake_ioc\n"
        "ioc.templates.TEMPLATES = Path(sys.argv.pop(1)); sys.exit(fake_ioc.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(changed), str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "Traceback" in line or line.startswith("pebbledaq: ")]
    assert expected in lines[0]
    assert leftovers(prefix_of(config)) == []


def test_the_ioc_and_its_workers_log_json_where_that_is_asked(tmp_path: Path) -> None:
    config = write_config(tmp_path, '[log]\nformat = "json"\n')
    with start(config, "udp.M01=--exit-code=2") as ioc:
        ioc.wait_for("stays down")
    logged = [json.loads(line) for line in ioc.lines if line.startswith("{")]
    assert {"source": "udp.M01", "level": "ERROR", "message": "pebbledaq: it cannot be done"}.items() <= next(
        line.items() for line in logged if line["source"] == "udp.M01"
    )
    # What EPICS itself prints stays as it is.
    assert [line for line in ioc.lines if re.search(r" (INFO|WARNING|ERROR) (ioc|udp|pva|detectors)", line)] == []


def test_its_service_manager_hears_of_the_ioc_and_not_of_its_workers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(20)
        manager.bind(str(tmp_path / "notify"))
        variables = {**epics_variables(), "NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "400000"}
        config = write_config(tmp_path)
        words = ("-m", "tests.support.fake_ioc", str(config))
        with IocProcess(prefix_of(config), *words, variables=variables) as ioc:
            receiving(ioc)
            assert [manager.recv(100) for _ in range(4)] == [b"READY=1"] + [b"WATCHDOG=1"] * 3
            assert ioc.stop() == 0
        manager.setblocking(False)
        rest = []
        with suppress(BlockingIOError):
            while True:
                rest.append(manager.recv(100))
        assert rest[-1] == b"STOPPING=1"
        assert set(rest[:-1]) <= {b"WATCHDOG=1"}


def test_a_worker_that_somebody_else_starts_again_is_adopted(tmp_path: Path) -> None:
    with start(write_config(tmp_path, "[run]\nrestart_workers = false\n")) as ioc:
        receiving(ioc)
        pid = ioc.value("M01:Pid_RBV")
        os.kill(pid, signal.SIGKILL)
        ioc.until("M01:State_RBV", "Failed")
        words = ("-m", "tests.support.fake_worker", ioc.prefix, "udp.M01", f"{tmp_path}/data/DET")
        with Process(*words).ready() as other:
            assert ioc.until("M01:Pid_RBV", lambda found: found not in (0, pid)) == other.pid
            ioc.until("M01:State_RBV", "Receiving")
            other.end()
        ioc.until("M01:State_RBV", "Failed")
        ioc.put("M01:Run", 1)
        ioc.until("M01:State_RBV", "Receiving")
