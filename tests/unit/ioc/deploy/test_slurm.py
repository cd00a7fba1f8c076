"""The Slurm job: what it asks for, and what its script does, with a srun of ours in the place of Slurm's."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from detectors.config import Config, parse_config
from detectors.errors import ConfigError
from ioc.cli.deploy import command
from ioc.deploy import slurm
from tests.support.waiting import until

PATH = Path("/etc/pebbledaq/a detector.toml")
TEXT = """
    [detector]
    name = "DET"
    prefix = "T:DET:"
    [run]
    drain_s = 20
    [zmq]
    port_base = 52100
    [control]
    port_base = 52000
    curve_keys = "/etc/keys"
    [disk]
    folder = "/data"
    [[host]]
    name = "daq-1"
    [[host]]
    name = "daq2"
    [[host]]
    name = "spare"
    [[udp]]
    name = "M00"
    port = 51020
    host = "daq-1"
    dma = { cfgRxCount = 50, cfgSize = "1 MiB" }
    [[udp]]
    name = "M01"
    port = 51021
    host = "daq-1"
    [[udp]]
    name = "M02"
    port = 51020
    host = "daq2"
    [stream]
    reduced = "tcp://10.0.0.2:51300"
    host = "daq2"
"""


def script(
    found: Config | None = None,
    command: str = "/usr/bin/true",
    *,
    partition: str = "",
    options: Sequence[str] = (),
    ioc: str | None = "",
    host: str = "",
) -> str:
    parts = slurm.components(found or parse_config(TEXT), PATH, ioc)
    chosen = [parts[host]] if host else list(parts.values())
    return slurm.script(chosen, PATH, command, partition=partition, options=options)


def components(text: str) -> list[dict[str, str]]:
    """Return the options of each component."""
    assert text.splitlines()[0] == "#!/bin/bash"
    found: list[dict[str, str]] = [{}]
    for line in re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE):
        if line == "hetjob":
            found.append({})
        else:
            found[-1] |= {name: value for name, _, value in (word.partition("=") for word in shlex.split(line))}
    return found


def steps(text: str) -> list[tuple[str, str]]:
    """Return the het-group and the task of each srun."""
    return re.findall(r"^srun (?:--het-group=(\d+) )?.* bash -c 'task ([\w-]+)' &$", text, re.MULTILINE)


def test_there_is_a_component_for_the_ioc_and_for_each_host_that_has_workers() -> None:
    text = script(partition="daq", options=["--account=me", "--time=1:00:00"])
    ioc, first, second = components(text)
    assert ioc["--job-name"] == "pebbledaq-T-DET"
    assert "--nodelist" not in ioc
    assert (first["--nodelist"], first["--nodes"], first["--ntasks"], first["--cpus-per-task"]) == (
        "daq-1",
        "1",
        "3",
        "2",
    )
    assert second["--nodelist"] == "daq2"
    for component in (ioc, first, second):
        assert component["--partition"] == "daq"
        assert component["--account"] == "me"
        assert component["--time"] == "1:00:00"  # ours comes first, and the last one holds
        assert component["--signal"] == "TERM@30"
    assert steps(text) == [("0", "ioc"), ("1", "daq-1"), ("2", "daq2")]


def test_memory_is_that_of_the_plan_or_the_node_where_it_is_not_known() -> None:
    _, first, second = components(script())
    megabytes = int(first["--mem"].removesuffix("M"))
    assert 2 * 80 < megabytes < 2000
    assert second["--mem"] == "0"  # the images of the stream are not planned


def test_processors_by_number_need_the_whole_node() -> None:
    found = parse_config(TEXT.replace('name = "M02"', 'name = "M02"\ntuning = { cpus = [1] }'))
    _, first, second = components(script(found))
    assert "--exclusive" in second
    assert "--cpus-per-task" not in second
    assert "--exclusive" not in first


def test_what_the_script_cannot_set_it_says() -> None:
    assert re.search(
        r"^# daq-1 needs net.core.rmem_max = 83886080 and [\d.]+ MiB of /dev/shm.$", script(), re.MULTILINE
    )


def test_the_ioc_is_on_the_node_that_is_asked_for() -> None:
    assert components(script(ioc="gateway"))[0]["--nodelist"] == "gateway"
    text = script(ioc="daq2")
    first, second = components(text)
    assert (first["--nodelist"], first["--ntasks"]) == ("daq-1", "3")
    assert (second["--nodelist"], second["--ntasks"]) == ("daq2", "4")
    assert "daq2.3) keep ioc run " in text
    text = script(ioc=None)
    assert len(components(text)) == 2
    assert "keep ioc" not in text


def test_a_job_of_one_host_is_no_heterogeneous_job() -> None:
    text = script(host="daq2")
    (component,) = components(text)
    assert (component["--nodelist"], component["--job-name"]) == ("daq2", "pebbledaq-T-DET-daq2")
    assert "hetjob" not in text
    assert steps(text) == [("", "daq2")]
    assert "M00" not in text


def test_nothing_to_run_is_refused() -> None:
    local = re.sub(
        r'host = "\S+"', "", TEXT.replace('name = "M02"\n    port = 51020', 'name = "M02"\n    port = 51022')
    )
    with pytest.raises(ConfigError, match="found no worker"):
        script(parse_config(local), ioc=None)


PROGRAM = """\
#!/bin/bash
echo "$@" >>"$RECORD/started"
trap 'echo "$@" >>"$RECORD/ended"; exit 0' TERM
case $1$3 in
  receiveM00) [ -e "$RECORD/second" ] || { touch "$RECORD/second"; exit 1; } ;;
  receiveM01) exit 2 ;;
  stream) exit 0 ;;
esac
sleep 60 & wait $!
"""
SRUN = """\
#!/bin/bash
while [ $# -gt 3 ]; do case $1 in --ntasks=*) tasks=${1#*=} ;; esac; shift; done
for ((n = 0; n < tasks; n++)); do SLURM_PROCID=$n "$@" & pids+=" $!"; done
trap 'kill $pids' TERM
until wait; do :; done
"""


def test_the_script_runs_each_worker_and_what_fails_again_until_the_job_ends(tmp_path: Path) -> None:
    for name, text in (("program", PROGRAM), ("srun", SRUN)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    job = tmp_path / "job"
    job.write_text(script(command=str(tmp_path / "program")))
    environment = {
        **os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "RECORD": str(tmp_path),
    }  # fmt: skip
    started, ended = tmp_path / "started", tmp_path / "ended"
    m00, m02 = (f"receive {PATH} {name} --state enabled" for name in ("M00", "M02"))
    steady = [m02, f"run {PATH}", *(f"keeper {PATH} {host}" for host in ("daq-1", "daq2"))]
    others = [f"receive {PATH} M01 --state enabled", f"stream {PATH}"]
    with subprocess.Popen(["/bin/bash", str(job)], cwd=tmp_path, env=environment, start_new_session=True) as running:
        try:
            until(
                lambda: sorted(started.read_text().splitlines()) if started.exists() else [],
                lambda lines: lines == sorted([m00, m00, *steady, *others]),
            )
            log = tmp_path / "pebbledaq-T-DET-7" / "udp.M00.log"
            assert log.read_text() == "udp.M00: ended with exit code 1, starts again in 1 s\n"
            os.killpg(running.pid, signal.SIGTERM)  # as Slurm does it, to all
            assert running.wait(20) == 0
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
    assert sorted(ended.read_text().splitlines()) == sorted([m00, *steady])


def test_the_script_is_printed_or_written(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(TEXT)
    printed = CliRunner().invoke(command, ["slurm", str(path), "--sbatch", "--account=me"], catch_exceptions=False)
    assert components(printed.output)[0]["--account"] == "me"
    out = tmp_path / "jobs" / "job"
    done = CliRunner().invoke(command, ["slurm", str(path), "--no-ioc", "--output", str(out)], catch_exceptions=False)
    assert done.output == f"{out}\nTo start it: sbatch {out}\n"
    assert len(components(out.read_text())) == 2
    alone = CliRunner().invoke(command, ["slurm", str(path), "--host", "daq2"], catch_exceptions=False)
    assert [c["--nodelist"] for c in components(alone.output)] == ["daq2"]
    for words, message in (
        (["--no-ioc", "--ioc-host", "x"], "--ioc-host: found 'x' with --no-ioc, expected one of the two"),
        (["--host", "x"], "--host: found 'x', expected one of ioc, daq-1, daq2"),
    ):
        failed = CliRunner().invoke(command, ["slurm", str(path), *words])
        assert str(failed.exception) == message
