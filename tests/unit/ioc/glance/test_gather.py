"""What is known of a system without its IOC, where its workers are on another host."""

import re
from pathlib import Path

import pytest
from rich.console import Console

from detectors.config import Config, parse_config
from detectors.curve import make_keys
from detectors.errors import ConfigError
from detectors.hosts import endpoint
from detectors.runtime_names import RuntimeNames
from ioc.glance.gather import System
from ioc.glance.table import WIDTH, render
from ioc.glance.verdict import Word
from tests.support.fake_part import FakePart, running
from tests.support.ports import free_hundred


@pytest.fixture
def config(tmp_path: Path) -> Config:
    make_keys(tmp_path / "keys", "server")
    return parse_config(f"""
        [detector]
        name = "D"
        prefix = "T:GLANCE:"
        [control]
        port_base = {free_hundred()}
        curve_keys = "{tmp_path}/keys"
        [[host]]
        name = "far"
        address = "127.0.0.1"
        [[udp]]
        name = "M00"
        port = 50020
        host = "far"
        [[udp]]
        name = "M01"
        port = 50021
        host = "far"
    """)


def look_until_heard(system: System, *, wait_s: float = 0.2) -> None:
    for _ in range(50):
        system.look(wait_s)
        if system.workers[0].responding:
            return
    pytest.fail("not heard")


@pytest.mark.usefixtures("short_runtime_dir")
def test_workers_of_a_host_are_heard_over_the_network(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = RuntimeNames(config.detector.prefix)
    with running(FakePart(), runtime, endpoint(config, "udp.M00")), System(runtime, config) as system:
        monkeypatch.setattr("ioc.glance.gather.is_running", lambda *_: None)  # the locks are on the other host
        look_until_heard(system)
        first, second = system.workers
        assert (first.name, first.host, first.state) == ("udp.M00", "far", "Idle")
        assert not second.responding
        console = Console(width=WIDTH, record=True)
        console.print(render(system.prefix, system.workers, system.verdict, 1.0))
        assert re.search("far: 1 of 2 workers respond", console.export_text())
        monkeypatch.setattr("ioc.glance.gather.SILENCE_S", 0.0)
        system.look(0.0)
        assert system.workers[1].state == "ended"
    assert system.verdict.word is not Word.GOOD


def test_without_keys_it_is_one_line(config: Config, tmp_path: Path) -> None:
    (tmp_path / "keys" / "server.key_secret").unlink()
    with pytest.raises(ConfigError, match="no key can be read"), System(RuntimeNames("T:GLANCE:"), config):
        pass
