"""A data set on several hosts from the command line: ``map`` writes where it lies, and what reads a FOLDER takes the map."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import zmq
from click.testing import CliRunner, Result

from ioc.cli import cli
from tests.unit.buffer.spread import Spread

CONFIG = """
[detector]
name = "JF"
prefix = "T:"
[disk]
folder = "{root}/disk"
[control]
port_base = 52000
curve_keys = "{root}/keys"
[[host]]
name = "daq1"
folder = "/data1"
seen_at = "{root}/net/daq1"
[[host]]
name = "daq2"
folder = "{root}/net/daq2"
[[udp]]
name = "M00"
host = "daq1"
port = 50020
geometry = {geometry}
place = {{ row = 0, column = 0 }}
[[udp]]
name = "M01"
host = "daq2"
port = 50021
geometry = {geometry}
place = {{ row = 8, column = 0 }}
[[udp]]
name = "M02"
port = 50022
geometry = {geometry}
place = {{ row = 16, column = 0 }}
[[pva]]
name = "CAM"
pv = "SIM:IMAGE"
"""
GEOMETRY = '{ header = "sls", rows = 8, cols = 16, dtype = "uint16", packets_per_frame = 4 }'
PULSES = (10, 11, 14)


@pytest.fixture
def spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spread:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(CONFIG.format(root=tmp_path, geometry=GEOMETRY))
    return Spread(tmp_path, {"daq1": ("M00",), "daq2": ("M01",)}, PULSES)


def run(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == code, done.stderr
    return done


def test_a_map_has_the_folder_of_each_module_as_other_hosts_see_it(spread: Spread, tmp_path: Path):
    shown = run("map", "c.toml", "-o", "d.json").stdout.splitlines()
    assert shown == [
        "d.json: JF: 3 modules on daq1, daq2",
        f"M02: {tmp_path}/disk/JF/M02 cannot be seen: No such file or directory",
        "d.json: JF-CAM: 1 modules",
        f"M00: {tmp_path}/disk/JF-CAM/M00 cannot be seen: No such file or directory",
    ]
    first, camera = json.loads(Path("d.json").read_text())["detectors"]
    assert (first["name"], first["dtype"], first["shape"], first["data_bytes"]) == ("JF", "uint16", [8, 16], 256)
    assert [(m["name"], m.get("host"), m["folder"], m["place"]["row"]) for m in first["modules"]] == [
        ("M00", "daq1", str(spread.folder("M00")), 0),
        ("M01", "daq2", str(spread.folder("M01")), 8),
        ("M02", None, f"{tmp_path}/disk/JF/M02", 16),
    ]
    assert camera == {"name": "JF-CAM", "modules": [{"name": "M00", "folder": f"{tmp_path}/disk/JF-CAM/M00"}]}


def test_the_map_as_json(spread: Spread):
    tree = json.loads(run("map", "c.toml", "-o", "d.json", "--json").stdout)
    assert tree["file"] == "d.json"
    first, last = tree["detectors"][0]["modules"][::2]
    assert first == {"name": "M00", "host": "daq1", "folder": str(spread.folder("M00")), "unseen": None}
    assert "cannot be seen" in last["unseen"]


@pytest.mark.usefixtures("spread")
def test_without_a_disk_there_is_nothing_to_map():
    Path("n.toml").write_text('[detector]\nname = "J"\nprefix = "T:"\n[[udp]]\nname = "M00"\nport = 5\n')
    assert "disk: missing; a map says where data lies on disk" in run("map", "n.toml", "-o", "d.json", code=2).stderr


def test_commands_read_the_map_and_say_what_is_missing(spread: Spread, tmp_path: Path):
    run("map", "c.toml", "-o", "d.json")
    lost = f"M02: missing: {tmp_path}/disk/JF/M02 cannot be seen: No such file or directory"
    done = run("read", "d.json/JF", 10, "--json")
    assert done.stderr == f"pebbledaq: {lost}\n"
    assert [m is None for m in json.loads(done.stdout)["modules"].values()] == [False, False, True]
    done = run("write", "d.json/JF", "-o", "d.h5", "--json")
    assert (json.loads(done.stdout)["modules"], done.stderr) == (3, f"pebbledaq: {lost}\n")
    with h5py.File("d.h5") as file:
        assert [int(mask) for mask in np.ravel(file["data/JF/module_mask"])] == [0b011] * len(PULSES)
    done = run("verify", "d.json/JF", "d.h5", code=1)
    assert done.stdout.splitlines() == [
        f"host: M02: {tmp_path}/disk/JF/M02 cannot be seen: No such file or directory",
        "6 records in 2 files, 3 HDF5 images: 1 findings",
    ]
    (found,) = json.loads(run("info", "d.json/JF", "--json").stdout)
    assert (found["folder"], found["partial"], len(found["unreadable"])) == ("d.json/JF", 3, 1)


def test_a_host_that_is_gone_is_one_line_and_comes_back(spread: Spread):
    spread.unmount("daq2")
    found = run("verify", spread.map, code=1).stdout
    assert f"host: M01: {spread.folder('M01')} of host daq2 cannot be seen: No such file or directory\n" in found
    spread.mount("daq2")
    assert "0 findings" in run("verify", spread.map).stdout


def test_replay_sends_what_is_there(spread: Spread, tmp_path: Path):
    spread.unmount("daq1")
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.connect(f"ipc://{tmp_path}/images")
        done = run("replay", spread.map, "--images", f"ipc://{tmp_path}/images", "--rate", 0, "--json")
        pixels = np.frombuffer(socket.recv_multipart()[1], np.uint16).reshape(16, 16)
    assert (json.loads(done.stdout)["frames"], json.loads(done.stdout)["torn"]) == (len(PULSES), 0)
    np.testing.assert_array_equal(pixels, spread.image(10, without=("M00",)))
    assert done.stderr.splitlines()[0].startswith("pebbledaq: M00: missing: ")


def test_repair_refuses_a_map(spread: Spread):
    assert "found a map, expected the folder of a detector" in run("repair", spread.map, code=2).stderr


def test_a_map_that_may_not_be_read(spread: Spread, deny: Callable[[Path], None]):
    deny(spread.map)
    assert run("info", spread.map, code=2).stderr == f"pebbledaq: {spread.map}: cannot be read: Permission denied\n"
