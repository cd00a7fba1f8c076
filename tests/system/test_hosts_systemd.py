"""The units that ``deploy systemd`` writes for a host and for the IOC, run by a systemd."""

import json
import os
from contextlib import closing
from pathlib import Path

import pytest
from p4p.client.thread import Context

from tests.support.epics_env import epics_variables
from tests.support.own_systemd import OwnSystemd, why_no_systemd
from tests.support.ports import free_hundred, free_ports
from tests.support.process import Process, run
from tests.support.senders import PATIENT
from tests.support.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(why_no_systemd()), reason=why_no_systemd())]

FRAMES = 40
PATIENCE_S = 60.0


def test_systemd_runs_a_host_and_the_ioc_and_starts_again_what_is_killed(tmp_path: Path) -> None:
    prefix = f"TSYSTEMD{os.getpid()}:"
    (port,) = free_ports(1)
    config = tmp_path / "one.toml"
    config.write_text(
        f'[detector]\nname = "ONE"\nprefix = "{prefix}"\n[dma]\ncfgRxCount = 20\n[disk]\nfolder = "{tmp_path}/data"\nmin_free = "64 MiB"\n'
        f'[control]\nport_base = {free_hundred()}\ncurve_keys = "{tmp_path}/keys"\n'
        f'[[host]]\nname = "daq1"\naddress = "127.0.0.1"\n'
        f'[[udp]]\nname = "M00"\n{PATIENT}host = "daq1"\naddress = "127.0.0.1"\nport = {port}\n'
    )
    assert run("keys", "server", "--output", f"{tmp_path}/keys").returncode == 0
    files = json.loads(run("deploy", "systemd", str(config), "--json").stdout)["files"]
    units = {Path(name).name: text for name, text in files.items() if not name.endswith(".conf")}
    name = f"pebbledaq-{prefix[:-1]}"
    target, ioc, worker = f"{name}-daq1.target", f"{name}.service", f"{name}-receive@M00.service"
    variables = epics_variables()
    units[f"{ioc}.d/epics.conf"] = "\n".join(("[Service]", *(f"Environment={k}={v}" for k, v in variables.items())))

    def value(name: str) -> int:
        """The value of a record, by a client of its own: one that was there before the IOC was killed finds the next one late."""
        with closing(Context("pva", conf=variables, useenv=False, nt=False)) as pva:
            return int(pva.get(f"{prefix}{name}", timeout=20.0).value)

    with OwnSystemd(units) as systemd:
        systemd.tell("start", target, ioc, worker)
        for unit in (ioc, worker, f"{name}-keeper@daq1.service"):
            until(lambda unit=unit: systemd.state(unit), lambda state: state == ("active", 0), PATIENCE_S)
        words = ("sim", "detector", str(config), "--rate", "100", "--frames", str(FRAMES))
        with Process("-m", "ioc", *words, timeout_s=PATIENCE_S) as sender:
            assert sender.wait() == 0, sender.text
        until(lambda: value("M00:Disk:Written_RBV"), lambda written: written == FRAMES, PATIENCE_S)
        pid = value("M00:Pid_RBV")
        systemd.tell("kill", "--signal=KILL", ioc)
        until(lambda: systemd.state(ioc), lambda state: state == ("active", 1), PATIENCE_S)
        until(lambda: value("M00:Pid_RBV"), lambda found: found == pid, PATIENCE_S)  # adopted
        systemd.tell("kill", "--signal=KILL", worker)
        until(lambda: systemd.state(worker), lambda state: state == ("active", 1), PATIENCE_S)
        until(lambda: value("M00:Pid_RBV"), lambda found: found not in (0, pid), PATIENCE_S)
        assert value("M00:Disk:Written_RBV") == FRAMES
        systemd.tell("stop", target)
        until(lambda: systemd.state(worker)[0], lambda state: state == "inactive", PATIENCE_S)
        assert systemd.state(ioc) == ("active", 1)
        systemd.tell("stop", ioc)
    checked = run("verify", f"{tmp_path}/data/ONE", "--json")
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["records"] == FRAMES
