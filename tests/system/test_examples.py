"""The example configurations start and stop as they stand."""

import json
from pathlib import Path

import pytest

from detectors.config import load_config
from ioc.templates import workers
from tests.support.examples import EXAMPLES, write_example
from tests.support.ioc_process import IocProcess
from tests.support.process import run

pytestmark = pytest.mark.usefixtures("runtime_dir")


@pytest.mark.parametrize("name", ["jungfrau", "pva-small"])
def test_an_example_runs_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    path = write_example(name, tmp_path)
    config = load_config(path)
    with IocProcess(config.detector.prefix, "-m", "ioc", "run", str(path)) as ioc:
        ioc.until("WorkersRunning_RBV", len(workers(config)))
        for source in config.udp:
            ioc.until(f"{source.name}:State_RBV", "Idle")
            assert ioc.value(f"{source.name}:RunState_RBV") == "Enabled"
            assert ioc.value(f"{source.name}:Dma:Total_RBV") == 64 << 20
        for source in config.pva:
            ioc.until(f"{source.name}:State_RBV", "Connecting")  # there is no camera
        assert ioc.stop() == 0
        assert ioc.leftovers() == []


def test_the_large_camera_is_planned_as_it_stands() -> None:
    done = run("sizes", "--json", str(EXAMPLES / "rix-axis.toml"))
    plan = json.loads(done.stdout)["AXIS"]
    assert (plan["dma"]["count"], plan["dma"]["size_bytes"]) == (80, 1 << 20)
    assert (plan["pebble"]["count"], plan["pebble"]["size_bytes"]) == (128, 84 << 20)
    assert (plan["transition"]["count"], plan["transition"]["size_bytes"]) == (128, 74 << 20)
