"""Settings of clients outlive the IOC, however it ended."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import M00, SOURCES, start, write_config
from tests.support.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("runtime_dir")]


def configured(folder: Path) -> Path:
    (folder / "other").mkdir()
    return write_config(folder, f'[ioc]\nautosave = "{folder}/state"\n')


def change(ioc: IocProcess, folder: Path) -> None:
    """Put one setting of each kind."""
    for name in SOURCES:
        ioc.until(f"{name}:State_RBV", lambda state: state in ("Receiving", "Waiting", "Connecting", "Connected"))
    ioc.put("M00:Disk:On", 0)
    ioc.put("M01:Disk:Folder", f"{folder}/other")
    ioc.put("DET:cam1:ImageMode", 1)
    ioc.put("DET:cam1:NumImages", 17)
    ioc.put("CAM:cam1:AcquireTime", 0.25)
    ioc.put("Retention:KeepHours", 2.5)


def saved(folder: Path) -> str:
    """What the file of settings holds; there is none before the first is saved."""
    return "".join(path.read_text() for path in (folder / "state").glob("*.settings"))


def check(ioc: IocProcess, folder: Path) -> None:
    """Settings as ``change`` put them, at once; the workers follow."""
    ioc.until("Autosave:Restored_RBV", 6)
    assert ioc.value("M00:Disk:On") == "Off"
    assert ioc.value("M01:Disk:Folder") == f"{folder}/other"
    assert ioc.value("DET:cam1:ImageMode") == "Multiple"
    ioc.until("DET:cam1:NumImages_RBV", 17)
    assert ioc.value("CAM:cam1:AcquireTime") == 0.25
    ioc.until("Retention:KeepHours_RBV", 2.5)
    ioc.until("M00:Disk:On_RBV", "Off")
    ioc.until("M01:Disk:Folder_RBV", f"{folder}/other/DET")
    ioc.until("Autosave:Message_RBV", lambda text: text.startswith("restored 6 settings of 20"))


def test_settings_are_restored_after_the_end_and_after_a_kill(tmp_path: Path) -> None:
    config = configured(tmp_path)
    with start(config) as ioc:
        change(ioc, tmp_path)
        assert ioc.stop() == 0
    with start(config) as ioc:
        check(ioc, tmp_path)
        ioc.put("DET:cam1:NumImages", 18)
        until(lambda: '"DET:cam1:NumImages": 18' in saved(tmp_path))
        os.kill(ioc.pid, signal.SIGKILL)
        ioc.stop()
    with start(config) as ioc:  # the workers went on
        assert ioc.value("DET:cam1:NumImages") == 18
        assert ioc.value("CAM:cam1:AcquireTime") == 0.25
        ioc.until("M00:Adopted_RBV", "Yes")
        assert ioc.value("M00:Disk:On") == "Off"
        ioc.until("Autosave:Message_RBV", lambda text: "stay as the workers that ran have them" in text)
        assert ioc.stop() == 0


def test_what_a_worker_does_wins_over_what_was_saved(tmp_path: Path) -> None:
    config = configured(tmp_path)
    with start(config) as ioc:
        change(ioc, tmp_path)
        until(lambda: "KeepHours" in saved(tmp_path))
        os.kill(ioc.pid, signal.SIGKILL)
        ioc.ask(M00, "output", output="disk", enabled=True)
        ioc.stop()
    with start(config) as ioc:
        ioc.until("M00:Adopted_RBV", "Yes")
        assert ioc.value("M00:Disk:On") == "On"
        ioc.until("M00:Disk:On_RBV", "On")
        assert ioc.stop() == 0


def test_a_refused_setting_and_a_corrupt_file_are_shown_and_the_start_goes_on(tmp_path: Path) -> None:
    config = configured(tmp_path)
    with start(config) as ioc:
        change(ioc, tmp_path)
        assert ioc.stop() == 0
    (file,) = (tmp_path / "state").iterdir()
    file.write_text(file.read_text().replace(f"{tmp_path}/other", "/etc"))
    with start(config) as ioc:
        message = ioc.until("Autosave:Message_RBV", bool)
        assert "M01:Disk:Folder refused: folder: found '/etc', expected a place below" in message
        ioc.until("Autosave:Restored_RBV", 5)
        assert ioc.value("M01:Disk:Folder") == f"{tmp_path}/data"
        until(lambda: ioc.severity("Autosave:Refused_RBV"), lambda severity: severity == 1)
        ioc.put("M01:Disk:Folder", f"{tmp_path}/other")
        ioc.until("Autosave:Refused_RBV", 0)
        assert ioc.stop() == 0
    file.write_text(file.read_text()[:-20])
    with start(config) as ioc:
        aside = f"; it is now {file.name}.refused, and nothing is restored"
        ioc.until("Autosave:Message_RBV", lambda text: text.endswith(aside))
        assert ioc.value("M00:Disk:On") == "On"
        assert sum("found no settings in it" in line for line in ioc.lines) == 1
        assert ioc.stop() == 0
    until(lambda: sorted(path.name for path in file.parent.iterdir()), lambda names: names == [f"{file.name}.refused"])
