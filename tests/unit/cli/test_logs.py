"""``pebbledaq --log-level``: what the process logs, and the workers that it starts."""

import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from detectors.run_state import RunState
from ioc.cli import cli

TEXT = """
[detector]
name = "J"
prefix = "T:"
[log]
level = "error"
[hdf5]
folder = "/data"
[images]
[stream]
[web]
[process]
function = "own:function"
detector = "J"
[[udp]]
name = "M00"
port = 50020
[[pva]]
name = "CAM"
pv = "SIM:IMAGE"
dtype = "uint16"
shape = [64, 64]
"""
RUNS = {
    "receive": "detectors.workers.receiver.run",
    "monitor": "detectors.workers.monitor.worker.run",
    "capture": "detectors.workers.capture.run",
    "images": "detectors.workers.images.run",
    "stream": "detectors.workers.stream.run",
    "web": "detectors.workers.web.part.run",
    "process": "detectors.workers.process.part.run",
    "run": "ioc.server.serve",
}
"""What each command hands over to when it has begun to log."""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "c.toml"
    path.write_text(TEXT)
    return str(path)


def level(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, tuple[Any, ...]]:
    """Run a command line up to its work; return the level it logs at, and what its work is given."""
    given: list[Any] = []
    configured: list[Any] = []
    basic = logging.basicConfig
    for target in RUNS.values():
        monkeypatch.setattr(target, lambda *args, **_: given.extend(args) or 0)
    monkeypatch.setattr(logging, "basicConfig", lambda **more: configured.append(more) or basic(**more))
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert len(configured) == 1
    return logging.getLogger().level, tuple(given)


@pytest.mark.parametrize("command", RUNS)
def test_the_level_is_the_one_given_or_that_of_the_configuration(
    command: str, config: str, monkeypatch: pytest.MonkeyPatch
):
    assert level([command, config], monkeypatch)[0] == logging.ERROR
    assert level(["--log-level", "debug", command, config], monkeypatch)[0] == logging.DEBUG


@pytest.mark.parametrize("chosen", [None, "debug", "warning"])
def test_workers_that_run_starts_log_at_the_same_level(
    chosen: str | None, config: str, monkeypatch: pytest.MonkeyPatch
):
    option = ["--log-level", chosen] if chosen else []
    _, (_, _, build) = level([*option, "run", config], monkeypatch)
    for worker in ("udp.M00", "pva.CAM", "stream", "web", "process", "hdf5.J", "images.CAM"):
        python, dash_m, ioc, *words = build(worker, RunState.ENABLED)
        assert (dash_m, ioc) == ("-m", "ioc"), python
        assert words[: len(option)] == option
        found, _ = level(words, monkeypatch)
        assert found == (getattr(logging, chosen.upper()) if chosen else logging.ERROR), worker
