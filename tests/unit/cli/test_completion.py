"""What the shell is offered, asked as the shell asks it."""

import json
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from ioc.cli import _COMMANDS, cli
from tests.unit.buffer.make import RawBuffer

TEXT = """
[detector]
name = "J"
prefix = "T:"
[hdf5]
folder = "/data"
[[udp]]
name = "M00"
port = 50020
[[udp]]
name = "M01"
port = 50021
[[pva]]
name = "CAM"
pv = "SIM:IMAGE"
dtype = "uint16"
shape = [64, 64]
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    RawBuffer(tmp_path / "data" / "JF").fill([10])
    (tmp_path / "data" / "other").mkdir()
    (tmp_path / "both.toml").write_text(TEXT)
    (tmp_path / "broken.toml").write_text("[detector")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(line: str) -> list[str]:
    """Return what is offered at the end of a command line; ``dir`` where the shell completes folders by itself."""
    *words, incomplete = line.split(" ")
    found = ShellComplete(cli, {}, "pebbledaq", "_PEBBLEDAQ_COMPLETE").get_completions(words, incomplete)
    return [item.value if item.type == "plain" else item.type for item in found]


def test_commands_and_their_options():
    assert offered("") == sorted(_COMMANDS)
    assert offered("re") == ["read", "receive", "repair", "replay"]
    assert offered("sim ") == ["ca", "detector", "pva", "timing", "udp"]
    assert offered("write data/JF --s") == ["--start", "--stop", "--step", "--scheduler"]
    assert offered("--log-level ") == ["debug", "info", "warning", "error"]
    assert offered("completion ") == ["bash", "zsh", "fish"]


def test_a_configuration_is_a_toml_file():
    assert offered("run ") == ["both.toml", "broken.toml", "data/"]
    assert offered("run bo") == ["both.toml"]
    assert offered("check ./b") == ["./both.toml", "./broken.toml"]
    assert offered("check da") == ["dir"]
    assert offered("check none/") == []
    assert offered("check .h") == [".hidden.toml"]


def test_a_folder_is_that_of_a_detector():
    assert offered("read data/") == ["data/JF", "data/other/"]
    assert offered("info data/J") == ["data/JF"]
    assert offered("write ") == ["dir"]


def test_a_map_stands_for_a_folder():
    modules = [{"name": name, "folder": f"data/JF/{name}"} for name in ("M01", "M00")]
    Path("jf.json").write_text(json.dumps({"format": 1, "detectors": [{"name": "JF", "modules": modules}]}))
    assert offered("verify ") == ["jf.json", "data/"]
    assert offered("write data/JF/") == ["dir"]
    assert offered("verify jf.json --module ") == ["M01", "M00"]


def test_modules_of_the_folder():
    assert offered("verify data/JF --module ") == ["M00", "M01"]
    assert offered("verify data --module M01") == ["M01"]
    assert offered("verify --module ") == []
    assert offered("verify none --module ") == []


def test_workers_of_the_configuration():
    assert offered("receive both.toml ") == ["M00", "M01"]
    assert offered("monitor both.toml C") == ["CAM"]
    assert offered("capture both.toml ") == ["J", "CAM"]
    assert offered("receive broken.toml ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_this_program(shell: str):
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0, done.output
    assert f"_PEBBLEDAQ_COMPLETE={shell}_complete" in done.stdout.replace("env ", "").replace("\\\n", "")
    assert "pebbledaq" in done.stdout
