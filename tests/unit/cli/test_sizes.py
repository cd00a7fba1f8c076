import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from detectors.errors import ConfigError
from ioc.cli.sizes import command

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.toml"))
MIB = 1 << 20
CONFIG = """
[detector]
name = "D"
prefix = "T:D:"
[dma]
cfgRxCount = 80
[pools]
pebbleBufSize = "84 MiB"
[[pva]]
name = "AXIS"
pv = "AXIS:Image"
dtype = "uint16"
shape = [4736, 8192]
"""


def sizes(folder: Path, text: str, *options: str) -> str:
    path = folder / "config.toml"
    path.write_text(text)
    result = CliRunner().invoke(command, [str(path), *options], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_json_of_the_axis_camera(tmp_path: Path):
    plan = json.loads(sizes(tmp_path, CONFIG, "--json"))
    assert list(plan) == ["AXIS"]
    axis = plan["AXIS"]
    assert set(axis) == {"dma", "pebble", "transition", "fits"}
    assert isinstance(axis["fits"], bool)
    for kind in ("dma", "pebble", "transition"):
        assert set(axis[kind]) == {"count", "size_bytes", "total_bytes", "why"}
        assert axis[kind]["total_bytes"] == axis[kind]["count"] * axis[kind]["size_bytes"]
    assert (axis["dma"]["count"], axis["dma"]["size_bytes"]) == (80, MIB)
    assert (axis["pebble"]["count"], axis["pebble"]["size_bytes"]) == (128, 84 * MIB)
    assert (axis["transition"]["count"], axis["transition"]["size_bytes"]) == (128, 74 * MIB)
    assert "128: next power of two above cfgRxCount = 80" in axis["pebble"]["why"]


def test_the_table_has_the_columns_and_reasons_of_the_document(tmp_path: Path):
    text = sizes(tmp_path, CONFIG)
    for heading in ("Buffer Type", "Component", "Set By", "Size", "Notes"):
        assert heading in text
    assert "56 MiB of the process itself: AXIS 19.8 GiB" in " ".join(text.split())
    for product in ("80 x 1 MiB = 80 MiB", "128 x 84 MiB = 10.5 GiB", "128 x 74 MiB = 9.25 GiB"):
        assert product in text
    assert "next power of two above" in text
    assert "Machine: " in text
    assert "Fits" in text or "Does not fit" in text


def test_too_much_is_said_with_the_largest_count(tmp_path: Path):
    huge = CONFIG.replace("cfgRxCount = 80", "cfgRxCount = 1000000")
    assert json.loads(sizes(tmp_path, huge, "--json"))["AXIS"]["fits"] is False
    text = " ".join(sizes(tmp_path, huge).split())
    assert "Does not fit" in text
    assert "pebbleBufCount" in text.partition("Does not fit")[2]


def test_an_unknown_payload_is_said(tmp_path: Path):
    unknown = CONFIG.partition("dtype")[0].replace("[pools]", "").replace('pebbleBufSize = "84 MiB"', "")
    plan = json.loads(sizes(tmp_path, unknown, "--json"))["AXIS"]
    assert plan["transition"]["count"] == 128
    assert plan["transition"]["size_bytes"] is None
    assert plan["pebble"]["total_bytes"] is None
    assert "unknown until the PV is connected" in plan["pebble"]["why"]
    text = sizes(tmp_path, unknown)
    assert "128 x unknown" in text
    assert "Not known before the PV is connected: AXIS" in text


def test_a_specification_may_tell_the_payload(tmp_path: Path):
    spec = CONFIG.partition("pv =")[0] + 'pv = ["AXIS:A[100,200](uint16)", "AXIS:B[50](double)"]\n'
    plan = json.loads(sizes(tmp_path, spec, "--json"))["AXIS"]
    assert plan["transition"]["size_bytes"] == 100 * 200 * 2 + 50 * 8


def test_a_module_has_no_transition_buffers(tmp_path: Path):
    module = CONFIG.partition("[pools]")[0] + '[[udp]]\nname = "M00"\nexpect_module_id = 0\nport = 50000\n'
    plan = json.loads(sizes(tmp_path, module, "--json"))["M00"]
    assert set(plan) == {"dma", "pebble", "fits"}
    assert "Transition" not in sizes(tmp_path, module)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_examples_are_planned(path: Path):
    result = CliRunner().invoke(command, [str(path), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    for plan in json.loads(result.output).values():
        assert plan["pebble"]["count"] > plan["dma"]["count"]


def test_a_wrong_configuration_is_one_line_a_mistake(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.replace("cfgRxCount = 80", "cfgRxCount = 8") + "[pva.pools]\npebbleBufCount = 7\n")
    done = subprocess.run(
        [sys.executable, "-m", "ioc", "sizes", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("pebbledaq: AXIS: dma: 8 x 1 MiB = 8 MiB does not hold one image")
    assert lines[1].startswith("pebbledaq: AXIS: pebbleBufCount: found 7, expected a power of two")


@pytest.mark.parametrize("bad", ["X:I[10](nonsense)", "B[2((", "http/X"])
@pytest.mark.parametrize("keys", ["", 'dtype = "uint16"\nshape = [4]\n'], ids=["open", "declared"])
def test_a_malformed_pv_is_refused_wherever_it_stands(tmp_path: Path, bad: str, keys: str):
    path = tmp_path / "config.toml"
    for pvs in ([bad], ["X:A", bad]):
        path.write_text(f'[detector]\nname = "D"\nprefix = "T:D:"\n[[pva]]\nname = "C"\npv = {pvs}\n{keys}')
        with pytest.raises(ConfigError, match=re.escape(repr(bad))):
            CliRunner().invoke(command, [str(path)], catch_exceptions=False)


def test_the_payload_follows_from_the_specifications(tmp_path: Path):
    text = CONFIG.partition("pv =")[0] + 'pv = ["A[4,5](ushort)", "B[1](double)", "M(string)"]'
    plan = json.loads(sizes(tmp_path, text, "--json"))["AXIS"]
    assert plan["transition"]["size_bytes"] == 40 + 8 + 256


def test_it_warns_of_a_keep_size_that_can_never_be_met(tmp_path: Path):
    disk = f'[disk]\nfolder = "{tmp_path}"\nkeep_size = "6 GiB"\n'
    text = " ".join(sizes(tmp_path, CONFIG + disk).split())
    assert "Retention: disk.keep_size is 6 GiB, but the files that are being written take 216.8 GiB" in text
    assert "Retention" not in sizes(tmp_path, CONFIG + disk.replace("6 GiB", "300 GiB"))
