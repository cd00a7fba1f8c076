"""What takes long shows how far it is, and ends cleanly when Ctrl-C is pressed."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from click.testing import CliRunner

from detectors.buffer.reader import BufferReader
from detectors.buffer.repair import repair_buffer
from ioc.cli import cli
from tests.unit.buffer.make import RawBuffer

LONG = {
    "info JF": "files",
    "verify JF": "files",
    "repair JF": "files",
    "write JF -o out.h5": "images",
    "write JF -o out.h5 --compression bslz4": "images",
    "replay JF --rate 0 --images": "pulses",
}
"""Commands, and the unit of their progress."""


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """An image stream with somebody who listens."""
    raw = RawBuffer(tmp_path / "JF").fill((10, 11, 14, 2000))
    list(repair_buffer(BufferReader(raw.folder)))  # writes LATEST
    monkeypatch.chdir(tmp_path)
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.connect(f"ipc://{tmp_path}/images")
        yield f"ipc://{tmp_path}/images"


def words(command: str, line: str) -> list[str]:
    return [*command.split(), *([line] if command.endswith("--images") else [])]


@pytest.mark.parametrize("command", LONG)
def test_progress_has_a_unit_and_reaches_a_known_total(command: str, line: str, monkeypatch: pytest.MonkeyPatch):
    units: list[str] = []
    shown: list[tuple[int, int]] = []

    @contextmanager
    def progress(_: str, unit: str):
        units.append(unit)
        yield lambda done, total: shown.append((done, total))

    monkeypatch.setattr("ioc.progress.progress", progress)
    done = CliRunner().invoke(cli, words(command, line))
    assert (done.exit_code, done.stderr) == (0, "")
    assert units == [LONG[command]]
    totals = {total for _, total in shown}
    assert len(totals) == 1
    assert [done for done, _ in shown] == sorted(done for done, _ in shown)
    assert 1 < len(shown) <= totals.pop() + 1


@pytest.mark.parametrize("command", LONG)
def test_nothing_but_the_result_where_there_is_no_terminal(command: str, line: str):
    done = CliRunner().invoke(cli, words(command, line))
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("command", LONG)
def test_ctrl_c_is_one_line_and_leaves_no_half_file(command: str, line: str, monkeypatch: pytest.MonkeyPatch):
    before = sorted(Path().rglob("*"))

    @contextmanager
    def progress(_: str, __: str):
        def press(done: int, total: int) -> None:
            if done == 1:
                raise KeyboardInterrupt

        yield press

    monkeypatch.setattr("ioc.progress.progress", progress)
    done = CliRunner().invoke(cli, words(command, line))
    assert (done.exit_code, done.stderr, done.stdout) == (130, "pebbledaq: stopped by Ctrl-C\n", "")
    assert sorted(Path().rglob("*")) == before
