"""The commands that only look: ``info``, ``check``, ``pvs``."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from detectors.config import load_config
from detectors.errors import ConfigError
from ioc.cli import check, info, pvs
from ioc.templates import loads
from tests.support.ports import free_ports
from tests.unit.buffer.make import RawBuffer

EXAMPLE = Path(__file__).parents[3] / "examples" / "both.toml"


def test_info_shows_what_a_buffer_holds(tmp_path):
    raw = RawBuffer(tmp_path / "JF")
    for pulse_id in (10, 11, 14):
        raw.put("M00", pulse_id)
    raw.put("M01", 10)
    shown = CliRunner().invoke(info.command, [str(tmp_path)], catch_exceptions=False).output
    assert "2 modules" in shown
    assert "1 pulses of all modules, 2 of some only, 1 apart" in shown
    assert "M00 holds 10 to 11, 14 to 14" in shown
    row = next(line.split() for line in shown.splitlines() if line.startswith("M00 "))
    assert row == ["M00", "3", "10", "14", "2", "2", "0", "0", "0"]


def test_info_as_json_has_every_range(tmp_path):
    raw = RawBuffer(tmp_path / "JF")
    raw.put("M00", 7)
    result = CliRunner().invoke(info.command, [str(tmp_path / "JF"), "--json"], catch_exceptions=False)
    (found,) = json.loads(result.output)
    assert found["modules"]["M00"]["ranges"] == [[7, 7]]
    assert found["dtype"] == "uint16"


def written(folder: Path, extra: str = "") -> str:
    (port,) = free_ports(1)
    path = folder / "c.toml"
    path.write_text(
        '[detector]\nname = "J"\nprefix = "T:"\n[dma]\ncfgRxCount = 4\n'
        f'[[udp]]\nname = "M00"\naddress = "127.0.0.1"\nport = {port}\n{extra}'
    )
    return str(path)


def test_check_says_what_a_configuration_makes_and_what_the_host_allows(tmp_path):
    result = CliRunner().invoke(check.command, [written(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("ok      configuration: T: 1 workers, ")
    assert any(line.startswith("ok      buffers: M00: pebble 8 x 1.01 MiB") for line in lines)
    assert any(line.startswith("ok      ports: M00") for line in lines)


def test_check_finds_a_folder_for_files_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("detectors.workers.preflight.storage.os.access", lambda _, mode: not mode & os.W_OK)
    config = written(tmp_path, f'[hdf5]\nfolder = "{tmp_path}/files"\n')
    result = CliRunner().invoke(check.command, [config], catch_exceptions=False)
    assert result.exit_code == 1
    assert f"error   files: {tmp_path}: not writable, no HDF5 file can be made" in result.output


def test_check_of_a_wrong_configuration_names_every_mistake(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('[detector]\nname = "J"\nprefix = "T"\n[[udp]]\nname = "M00"\nport = 0\n')
    with pytest.raises(ConfigError) as error:
        CliRunner().invoke(check.command, [str(path)], catch_exceptions=False)
    assert len(error.value.problems) == 2
    result = CliRunner().invoke(check.command, [str(path), "--json"], catch_exceptions=False)
    assert result.exit_code == 2
    assert [(f["check"], f["level"]) for f in json.loads(result.output)] == [("configuration", "error")] * 2


def test_pvs_lists_every_record_that_the_configuration_has():
    names = {name for load in loads(load_config(EXAMPLE)) for name in load.names()}
    result = CliRunner().invoke(pvs.command, [str(EXAMPLE)], catch_exceptions=False)
    rows = [line.split("\t") for line in result.output.splitlines()]
    assert {row[0] for row in rows} == names
    assert all(len(row) == 3 for row in rows)
    tree = json.loads(CliRunner().invoke(pvs.command, [str(EXAMPLE), "--json"], catch_exceptions=False).output)
    (state,) = [row for row in tree if row["name"] == "DAQ:BOTH:M00:State_RBV"]
    assert state["type"] == "mbbi"
    assert "Stalled" in state["unit"]
    assert "MAJOR" in state["alarm"]
