"""``--json`` is one document with the keys of the list, and agrees with the text."""

import json
from pathlib import Path
from typing import Any

import pytest
import zmq
from click.testing import CliRunner

from ioc.cli import cli
from tests.support.epics_env import free_ports
from tests.unit.buffer.make import RawBuffer
from tests.unit.cli.every import every_command

EXAMPLE = str(Path(__file__).parents[3] / "examples" / "both.toml")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RawBuffer:
    raw = RawBuffer(tmp_path / "JF").fill((10, 11, 14))
    raw.poke(raw.path("M01", 11), 11 * raw.record_bytes, b"\x42")  # torn
    (port,) = free_ports(1)
    (tmp_path / "c.toml").write_text(
        f'[detector]\nname = "J"\nprefix = "T:"\n[dma]\ncfgRxCount = 4\n[[udp]]\nname = "M00"\naddress = "127.0.0.1"\nport = {port}\n'
    )
    monkeypatch.chdir(tmp_path)
    return raw


def run(words: str) -> str:
    done = CliRunner().invoke(cli, words.split())
    assert isinstance(done.exception, SystemExit | None), done.exception
    assert done.exit_code in {0, 1}, done.stderr
    return done.stdout


def document(words: str) -> Any:
    return json.loads(run(f"{words} --json"))


def test_the_commands_that_print_data_have_it():
    having = {words for words, command in every_command().items() if any("--json" in p.opts for p in command.params)}
    data = {
        "check",
        "info",
        "keys",
        "map",
        "process",
        "pvs",
        "read",
        "repair",
        "replay",
        "screens",
        "sizes",
        "status",
        "verify",
        "version",
        "write",
    }
    assert having == data | {"deploy container", "deploy slurm", "deploy systemd", "sim detector"}


def test_info():
    (tree,) = document("info JF")
    assert set(tree) == {"folder", "shape", "dtype", "modules", "step", "whole", "partial", "unreadable"}
    shown = run("info JF")
    assert f"{tree['whole']} pulses of all modules, {tree['partial']} of some only, {tree['step']} apart" in shown
    module = tree["modules"]["M01"]
    row = next(line.split() for line in shown.splitlines() if line.startswith("M01 "))
    assert row[1:5] == [
        str(n) for n in (module["records"], module["ranges"][0][0], module["ranges"][-1][1], module["holes"])
    ]
    assert row[-1] == str(module["torn"]) == "1"


def test_read():
    tree = document("read JF 11")
    assert set(tree) == {"pulse_id", "detector", "shape", "dtype", "is_good_frame", "modules", "unreadable"}
    assert (tree["pulse_id"], tree["is_good_frame"], tree["modules"]["M01"]) == (11, False, None)
    shown = run("read JF 11")
    assert f"pulse 11: {tree['shape']} {tree['dtype']}, NOT complete" in shown
    row = next(line.split() for line in shown.splitlines() if line.startswith(" M00 "))
    assert row[1:3] == [str(tree["modules"]["M00"][key]) for key in ("module_id", "frame_index")]


def test_verify():
    tree = document("verify JF")
    assert set(tree) == {"files", "records", "images", "incomplete", "unchecked", "findings", "list"}
    *lines, summary = run("verify JF").splitlines()
    assert summary.startswith(f"{tree['records']} records in {tree['files']} files: {tree['findings']} findings")
    assert len(lines) == tree["findings"] == len(tree["list"])
    assert [line.partition(":")[0] for line in lines] == [finding["check"] for finding in tree["list"]]


def test_repair():
    tree = document("repair JF --dry-run")
    assert set(tree) == {"dry_run", "repaired", "left_alone", "list"}
    *lines, summary = run("repair JF --dry-run").splitlines()
    assert summary == f"{tree['repaired']} to repair"
    assert len(lines) == tree["repaired"] == len(tree["list"])
    assert document("repair JF")["list"] == tree["list"]
    assert document("repair JF") == {"dry_run": False, "repaired": 0, "left_alone": 0, "list": []}


def test_write():
    tree = document("write JF -o a.h5 --stop 10")
    assert set(tree) == {"file", "images", "modules", "bytes", "elapsed_s", "view"}
    assert run("write JF -o b.h5 --stop 10").startswith(
        f"b.h5: {tree['images']} images of {tree['modules']} modules, {tree['bytes'] / 1e6:.1f} MB, "
    )
    assert (tree["file"], tree["images"], tree["bytes"], tree["view"]) == ("a.h5", 1, 2 * 8 * 16 * 2, False)
    assert document("write JF -o c.h5 --stop 10 --view")["view"] is True


def test_process():
    words = "process JF detectors.processing.ready:mean -o"
    tree = document(f"{words} a.h5")
    counts = {"images", "incomplete", "unreadable", "unreadable_files"}
    assert set(tree) == counts | {"file", "function", "results", "start", "stop", "step", "elapsed_s"}
    assert (tree["images"], tree["incomplete"], tree["start"], tree["stop"]) == (3, 1, 10, 14)
    assert tree["results"]["mean"] == {"shape": [16, 16], "dtype": "float64"}
    shown = run(f"{words} b.h5")
    assert shown.startswith(f"b.h5: {', '.join(tree['results'])} of {tree['images']} images, ")
    assert shown.endswith(f" s; {tree['incomplete']} of them lack modules\n")


def test_replay(tmp_path: Path):
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.connect(f"ipc://{tmp_path}/images")
        words = f"replay JF --images ipc://{tmp_path}/images --rate 0"
        tree, shown = document(words), run(words)
    assert set(tree) == {"pulses", "frames", "messages", "unreadable", "torn", "late", "elapsed_s"}
    assert shown.startswith(f"{tree['pulses']} pulses, {tree['frames']} frames, {tree['messages']} messages in ")
    assert f"{tree['torn']} frames of the others are torn" in shown
    assert (tree["pulses"], tree["frames"]) == (3, 5)


def test_sizes():
    (tree,) = document("sizes c.toml").values()
    assert set(tree) == {"dma", "pebble", "fits"}
    shown = run("sizes c.toml")
    for kind in ("dma", "pebble"):
        assert f"{tree[kind]['count']} x " in shown
    assert tree["fits"] is ("Fits: needs" in shown)


def test_check():
    tree = document("check c.toml")
    assert all(set(finding) == {"check", "level", "found", "remedy"} for finding in tree)
    lines = [line for line in run("check c.toml").splitlines() if not line.startswith(" ")]
    assert len(lines) == len(tree)
    for line, finding in zip(lines, tree, strict=True):
        assert line.startswith(f"{finding['level']:8}{finding['check']}: ")


def test_pvs():
    tree = document(f"pvs {EXAMPLE}")
    assert all(set(record) == {"name", "type", "description", "unit", "alarm", "archive"} for record in tree)
    rows = [line.split("\t") for line in run(f"pvs {EXAMPLE}").splitlines()]
    assert rows == [[record["name"], record["type"], record["description"]] for record in tree]
    archived = [line.split("\t")[0] for line in run(f"pvs {EXAMPLE} --archive").splitlines()]
    assert archived == [record["name"] for record in document(f"pvs {EXAMPLE} --archive")]


def test_status():
    (tree,) = document("status c.toml")
    assert set(tree) == {"prefix", "word", "reasons", "ioc_running", "recent_s", "hosts", "workers"}
    shown = run("status c.toml")
    assert tree["prefix"] in shown
    assert all(worker.partition(".")[2] in shown for worker in tree["workers"])


def test_keys():
    tree = document("keys server -o keys")
    assert set(tree) == {"public", "secret", "server"}
    shown = run("keys ana -o keys")
    assert tree["server"] == tree["public"] == "keys/server.key"
    assert "keys/ana.key_secret and keys/server.key" in shown


def test_version():
    tree = document("version")
    assert set(tree) == {"pebbledaq", "python", "system", "libraries"}
    rows = dict(line.split(maxsplit=1) for line in run("version").splitlines())
    assert rows == {k: v or "not installed" for k, v in ({**tree, **tree["libraries"]}).items() if k != "libraries"}
    assert run("--version").split()[-1] == tree["pebbledaq"]


def test_screens():
    tree = document("screens c.toml -o s")
    assert tree["folder"] == "s"
    assert sorted(tree["files"]) == sorted(path.name for path in Path("s").iterdir())
    assert run("screens c.toml -o s").startswith(f"{len(tree['files'])} files in s")


@pytest.mark.parametrize("kind", ["systemd", "container"])
def test_deploy(kind: str):
    tree = document(f"deploy {kind} c.toml")
    assert tree["folder"] is None
    shown = run(f"deploy {kind} c.toml")
    assert shown == "".join(f"#### {name}\n{text}\n" for name, text in tree["files"].items())
    tree = document(f"deploy {kind} c.toml -o d")
    assert {name: Path("d", name).read_text() for name in tree["files"]} == tree["files"]
