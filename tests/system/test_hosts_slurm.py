"""The job that ``deploy slurm`` writes, run by Slurm: workers on two nodes, and an IOC on a third that adopts them."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from p4p.client.thread import Context

from ioc.deploy.slurm import RUNTIME_FOLDER
from tests.support.epics_env import epics_variables
from tests.support.ioc_process import leftovers
from tests.support.ports import free_hundred, free_ports
from tests.support.process import Process, run
from tests.support.senders import PATIENT
from tests.support.slurm_cluster import SlurmCluster, why_no_slurm
from tests.support.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(why_no_slurm()), reason=why_no_slurm())]

FRAMES = 40
PATIENCE_S = 60.0
"""Slurm starts jobs in rounds, and ten programs start here at once."""


@pytest.fixture
def cluster() -> Iterator[SlurmCluster]:
    with SlurmCluster() as made:
        yield made


def write_config(folder: Path, prefix: str) -> Path:
    ports, first = free_ports(2), free_hundred()
    assert run("keys", "server", "--output", f"{folder}/keys").returncode == 0
    modules = [
        f'[[host]]\nname = "daq{n}"\naddress = "127.0.0.{n}"\nfolder = "{folder}/data{n}"\n'
        f'[[udp]]\nname = "M0{n}"\n{PATIENT}host = "daq{n}"\naddress = "127.0.0.{n}"\nport = {port}\n'
        for n, port in enumerate(ports, 1)
    ]
    path = folder / "wide.toml"
    path.write_text(
        f'[detector]\nname = "WIDE"\nprefix = "{prefix}"\n[dma]\ncfgRxCount = 20\n[disk]\nfolder = "{folder}/data"\nmin_free = "64 MiB"\n'
        f'[control]\nport_base = {first}\ncurve_keys = "{folder}/keys"\n' + "".join(modules)
    )
    return path


def test_a_job_receives_on_two_nodes_starts_again_what_was_killed_and_ends_with_every_frame_on_disk(
    cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", RUNTIME_FOLDER)  # as the job has it
    prefix, folder = f"TSLURM{os.getpid()}:", cluster.folder
    config, script = write_config(folder, prefix), folder / "job"
    variables = epics_variables()
    cluster.environment |= variables
    written = run("deploy", "slurm", str(config), "--ioc-host", "head", "--output", str(script))
    assert written.returncode == 0, written.stderr
    job = cluster.submit(script)
    until(cluster.jobs, lambda jobs: jobs == ["daq1 RUNNING", "daq2 RUNNING", "head RUNNING"], timeout_s=PATIENCE_S)
    logs = folder / f"pebbledaq-{prefix[:-1]}-{job}"
    names = {"ioc", "udp.M01", "udp.M02", "keeper.daq1", "keeper.daq2"}
    until(
        lambda: {log.stem for log in logs.glob("*.log") if "\nREADY" in f"\n{log.read_text()}"},
        lambda found: found == names,
        PATIENCE_S,
    )

    with closing(Context("pva", conf=variables, useenv=False, nt=False)) as pva:

        def values(name: str) -> list[int]:
            return [int(pva.get(f"{prefix}{module}:{name}", timeout=10.0).value) for module in ("M01", "M02")]

        def send(first: int) -> None:
            """Send frames, and wait until they are on disk."""
            words = ("--rate", "100", "--frames", str(FRAMES), "--start", str(first))
            with Process("-m", "ioc", "sim", "detector", str(config), *words, timeout_s=PATIENCE_S) as sender:
                assert sender.wait() == 0, sender.text
            written = first + FRAMES - 1
            until(lambda: values("Disk:Written_RBV"), lambda found: found == [written, written], PATIENCE_S)

        until(lambda: values("Pid_RBV"), lambda pids: 0 not in pids, PATIENCE_S)
        assert values("Disk:Written_RBV") == [0, 0]
        send(1)
        killed, other = values("Pid_RBV")
        os.kill(killed, signal.SIGKILL)
        until(lambda: values("Restarts_RBV"), lambda restarts: restarts == [1, 0], PATIENCE_S)
        assert values("Pid_RBV")[1] == other
        send(1 + FRAMES)
    cluster.cancel(job)
    assert leftovers(prefix) == []  # all had the time to end by themselves
    assert run("map", str(config), "--output", f"{folder}/wide.json").returncode == 0
    checked = run("verify", f"{folder}/wide.json", "--json")
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["records"] == 2 * 2 * FRAMES
