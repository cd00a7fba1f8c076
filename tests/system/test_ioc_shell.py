"""The shell of the soft-IOC, given commands on its standard input."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.epics_env import epics_variables
from tests.support.ioc_setup import prefix_of, write_config


def test_our_commands_and_epics_s(tmp_path: Path, runtime_dir: Path) -> None:
    config = write_config(tmp_path)
    config.write_text(config.read_text().split("[[pva]]")[0])
    prefix = prefix_of(config)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
    with subprocess.Popen(
        [sys.executable, "-m", "ioc", "run", str(config), "--shell"],
        env=inherited | epics_variables(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as ioc:
        assert ioc.stdout
        assert ioc.stdin
        while not (line := ioc.stdout.readline()).startswith("READY"):
            assert line, "ended before it was ready"
        said, errors = ioc.communicate(
            f"pebble list\ndbgf {prefix}Heartbeat_RBV.DESC\npebble show M01\nexit\n", timeout=60
        )
    assert ioc.returncode == 0, errors
    assert "udp.M00  " in said
    assert "Heartbeat of this IOC" in said
    assert "packets.lost" in said
