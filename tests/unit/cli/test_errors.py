"""What a user does wrong is one line on standard error, an exit code of the list, and nothing left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ioc.cli import cli
from tests.unit.buffer.make import RawBuffer
from tests.unit.cli.every import every_command

COMMANDS = every_command()
CONFIG = [words for words, command in COMMANDS.items() if any(p.name == "config" for p in command.params)]
FOLDER = [words for words, command in COMMANDS.items() if any(p.name == "folder" for p in command.params)]
MEAN = "detectors.processing.ready:mean"
MORE = {
    "map": ["-o", "out.json"],
    "process": [MEAN, "-o", "out.h5"],
    "read": ["10"],
    "replay": ["--images", "ipc:///nowhere"],
    "write": ["-o", "out.h5"],
}
"""What a command needs beside its CONFIG or FOLDER."""
TO_FILE = [["read", "data/JF", "10"], ["write", "data/JF"], ["map", "ok.toml"], ["process", "data/JF", MEAN]]
TO_FOLDER = [
    ["screens", "ok.toml"],
    ["deploy", "systemd", "ok.toml"],
    ["deploy", "container", "ok.toml"],
    ["keys", "server"],
    ["demo"],
]
TEXT = """
[detector]
name = "J"
prefix = "T:"
[disk]
folder = "/data"
[hdf5]
folder = "/data"
[images]
[[udp]]
name = "M00"
port = 50020
[[pva]]
name = "CAM"
pv = "SIM:IMAGE"
dtype = "uint16"
shape = [64, 64]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    RawBuffer(tmp_path / "data" / "JF").fill((10, 11))
    (tmp_path / "ok.toml").write_text(TEXT)
    (tmp_path / "broken.toml").write_text("[detector\n")
    (tmp_path / "spelling.toml").write_text(TEXT + "[zqm]\nenabled = true\n")
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fails(words: list[str], code: int, *texts: str) -> None:
    """Run a command line that must end in one line that has ``texts``, and that leaves no file."""
    before = sorted(Path().rglob("*"))
    done = CliRunner().invoke(cli, words)
    assert one_line(done), (done.stderr, done.exception)
    assert done.exit_code == code, done.stderr
    assert done.stdout == ""
    assert all(text in done.stderr for text in texts), done.stderr
    assert sorted(Path().rglob("*")) == before


def one_line(done: Result) -> bool:
    return (
        isinstance(done.exception, SystemExit)
        and done.stderr.startswith("pebbledaq: ")
        and done.stderr.count("\n") == 1
    )


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", CONFIG)
@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("none.toml", "none.toml: cannot be read: No such file or directory; give the path of a TOML file"),
        ("empty", "empty: cannot be read: Is a directory; give the path of a TOML file"),
        ("broken.toml", "broken.toml: not TOML: Expected ']'"),
        ("spelling.toml", "spelling.toml: zqm: unknown key; remove it or correct its spelling"),
    ],
)
def test_a_configuration_that_cannot_be_used(words: str, config: str, said: str):
    fails([*words.split(), config, *MORE.get(words, [])], 2, said)


@pytest.mark.parametrize("words", CONFIG)
def test_a_configuration_that_may_not_be_read(words: str, here: Path, deny: Callable[[Path], None]):
    deny(here / "ok.toml")
    fails([*words.split(), "ok.toml", *MORE.get(words, [])], 2, "ok.toml: cannot be read: Permission denied")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", FOLDER)
@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("none", "none/detector.json: cannot be read: No such file or directory"),
        ("file", "file: not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("empty", "empty/detector.json: cannot be read: No such file or directory"),
    ],
)
def test_a_folder_that_is_no_detector(words: str, folder: str, said: str):
    fails([*words.split(), folder, *MORE.get(words, [])], 2, said, "give the folder of a detector")


@pytest.mark.parametrize("words", FOLDER)
def test_a_folder_that_may_not_be_read(words: str, here: Path, deny: Callable[[Path], None]):
    deny(here / "data")
    fails([*words.split(), "data/JF", *MORE.get(words, [])], 2, "detector.json: cannot be read: Permission denied")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", FOLDER)
def test_a_module_that_the_buffer_does_not_have(words: str):
    fails(
        [*words.split(), "data/JF", "--module", "M77", *MORE.get(words, [])],
        2,
        "found no module 'M77', expected one of M00, M01",
    )


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "known"), [("receive", "M00"), ("monitor", "CAM"), ("capture", "J, CAM"), ("images", "J, CAM")]
)
def test_a_worker_that_the_configuration_does_not_have(words: str, known: str):
    fails([words, "ok.toml", "M77"], 2, f"found 'M77', expected one of: {known}")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", [words for words in FOLDER if words not in {"read", "info", "verify", "repair"}])
def test_a_range_without_a_pulse(words: str):
    fails(
        [*words.split(), "data/JF", "--start", "900", "--stop", "905", *MORE.get(words, [])],
        1,
        "900 to 905",
        "M00 holds 10 to 11",
    )


@pytest.mark.usefixtures("here")
def test_a_pulse_that_the_buffer_does_not_hold():
    fails(["read", "data/JF", "900"], 1, "pulse 900 is not in the buffer", "M00 holds pulses 10 to 11")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", TO_FILE, ids=" ".join)
def test_an_output_that_is_a_folder(words: list[str]):
    fails([*words, "-o", "empty"], 2, "'empty' is a directory")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", TO_FOLDER, ids=" ".join)
def test_an_output_that_is_a_file(words: list[str]):
    fails([*words, "-o", "file"], 2, "'file' is a file")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", [*TO_FILE, *TO_FOLDER], ids=" ".join)
def test_an_output_below_a_file(words: list[str]):
    fails([*words, "-o", "file/out"], 1, "file/out", "cannot be")


@pytest.mark.parametrize("words", [*TO_FILE, *TO_FOLDER], ids=" ".join)
def test_an_output_that_may_not_be_written(words: list[str], here: Path, deny: Callable[[Path], None]):
    deny(here / "empty")
    fails([*words, "-o", "empty/out"], 1, "empty", "cannot be", "Permission denied")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nonsense", "No such command 'nonsense'"),
        ("--nonsense", "No such option"),
        ("--log-level loud check ok.toml", "'loud' is not one of 'debug', 'info', 'warning', 'error'"),
        ("read data/JF ten", "found 'ten', expected a pulse_id"),
        ("process data/JF mean -o a.h5", "mean: found no function, expected module:name or file.py:name"),
        (
            f"process data/JF {MEAN} -o a.h5 --workers 2 --scheduler tcp://localhost:1",
            "--workers: found --scheduler too",
        ),
        (f"process data/JF {MEAN}", "--output: missing; the images in a FOLDER need"),
        ("process data/JF -o a.h5", "FUNCTION: missing; the images in a FOLDER need"),
        (f"process data/JF {MEAN} CAM -o a.h5", "DETECTOR: found CAM, but data/JF is the FOLDER of one"),
        (f"process ok.toml {MEAN} -o a.h5", "--output: found a.h5, but ok.toml is a configuration"),
        (f"process ok.toml {MEAN} --json", "--json: found True, but ok.toml is a configuration"),
        (f"process ok.toml {MEAN}", "detector: found no name, expected one of: J, CAM"),
        ("process ok.toml", "process: missing; give a function, module:name or file.py:name, or a [process] section"),
        ("process ok.toml nothing J", "process.function: found 'nothing', expected module:name or file.py:name"),
        ("write data/JF", "Missing option '-o' / '--output'"),
        ("write data/JF -o a.h5 --step 0", "0 is not in the range x>=1"),
        ("write data/JF -o a.h5 --view --compression lz4", "--view: copies nothing"),
        ("write data/JF -o a.h5 --view --workers 2", "--view: copies nothing"),
        ("verify data/JF --workers 0", "0 is not in the range x>=1"),
        ("replay data/JF", "found none or several of --udp, --zmq, --images, --pv; give exactly one"),
        ("replay data/JF --udp 127.0.0.1:0", "found '127.0.0.1:0', expected HOST:PORT"),
        ("verify data/JF none.h5", "none.h5: cannot be opened"),
        ("keys ../me -o k", "NAME: found '../me', expected letters, digits, - and _"),
        ("sim udp no-port", "found 'no-port', expected host:port"),
        ("sim pva P --shape 3by3", "found '3by3', expected sizes like 2048x1024"),
        ("completion tcsh", "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
        ("check ok.toml --rate -1", "-1.0 is not in the range x>=0"),
    ],
)
def test_a_wrong_request(words: str, said: str):
    fails(words.split(), 2, said)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", [words for words in CONFIG if words != "check"])
def test_every_mistake_in_a_configuration_is_a_line(words: str):
    Path("two.toml").write_text(TEXT.replace("port = 50020", "port = -1\nmatch = 3"))
    done = CliRunner().invoke(cli, [*words.split(), "two.toml", *MORE.get(words, [])])
    assert done.exit_code == 2
    assert [line.split(": ")[2] for line in done.stderr.splitlines()] == ["udp[0].port", "udp[0].match"]
