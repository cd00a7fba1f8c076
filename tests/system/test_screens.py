"""The screens in PyDM against an IOC with simulated modules, and the command that writes them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from detectors.config import load_config
from ioc.screens.everything import screens
from tests.support.both import Running, running_both
from tests.support.process import ROOT, run
from tests.support.pydm_screen import picture

CONFIG = ROOT / "examples" / "both.toml"
SCREENS = {screen.name: screen for screen in screens(load_config(CONFIG))}

pytestmark = [pytest.mark.alone, pytest.mark.long]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path) -> Iterator[Running]:
    with running_both(tmp_path_factory.mktemp("screens"), {"M01": ["--loss", "0.01"]}) as found:
        found.ioc.until("Stream:ImagesAssembled_RBV", lambda number: number > 5)
        yield found


@pytest.mark.parametrize("name", SCREENS)
def test_every_widget_is_connected_and_no_text_is_cut(running: Running, tmp_path: Path, name: str) -> None:
    macros = {**SCREENS[name].macros, "P": running.ioc.prefix}
    found = picture(running.ioc, ROOT / "screens" / f"{name}.ui", macros, tmp_path / "picture.png")
    assert found["disconnected"] == []
    assert found["clipped"] == []
    assert found["widgets"] > 20
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert not {"######", "?"} & set(found["texts"].values())  # before there is a value, and without a connection
    if name == "overview":
        assert found["shades"][0] > 100  # the image is there
        lost = found["texts"][f"ca://{running.ioc.prefix}M01:PacketsLostRecently_RBV"]
        assert int(lost.split()[0]) > 0
        assert found["texts"][f"pva://{running.ioc.prefix}Health_RBV"].startswith("M01:")


def test_the_command_writes_every_screen_twice(tmp_path: Path) -> None:
    done = run("screens", str(CONFIG), "--output", str(tmp_path / "new" / "folder"))
    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_text() for path in (tmp_path / "new" / "folder").iterdir()}
    assert written == {path.name: path.read_text() for path in (ROOT / "screens").iterdir()}


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("screens", str(CONFIG), "--output", str(tmp_path / "file"))
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("pebbledaq: ")
    assert "--output" in line
    assert f"{tmp_path / 'file'}' is a file" in line
