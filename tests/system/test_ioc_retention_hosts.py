"""Retention on another host under the soft-IOC: a real keeper there, fake receivers, and IOCs that come and go."""

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.far_host import Far, far_host
from tests.support.ioc_setup import M00, M01, prefix_of, start
from tests.system.test_ioc_retention import left, make_buffer

pytestmark = pytest.mark.long


@pytest.fixture
def far(tmp_path: Path, runtime_dir: Path) -> Iterator[Far]:
    with far_host(tmp_path) as found:
        make_buffer(tmp_path / "data").claim(prefix_of(found.config))
        found.launch(M00)
        found.launch(M01)
        yield found


def test_limits_reach_the_keeper_also_when_it_or_the_ioc_is_started_again(
    far: Far, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keeper = far.launch_keeper()
    with start(far.config) as ioc:
        for record in ("Retention:Files_RBV", "far:Retention:Files_RBV"):
            ioc.until(record, 6)
        for record in ("Retention:State_RBV", "far:Retention:State_RBV"):
            ioc.until(record, "Off")
        assert "GiB in total; set less" in ioc.refused("Retention:KeepFree", 1e9)
        ioc.put("Retention:KeepHours", 25.0)
        for record in ("Retention:DeletedFiles_RBV", "far:Retention:DeletedFiles_RBV"):
            ioc.until(record, 2)
        assert left(tmp_path / "data") == {"101000", "300000"}
        keeper.end(signal.SIGKILL)
        ioc.until("far:Retention:State_RBV", "Failed")
        ioc.until("Retention:State_RBV", "Failing")
        ioc.until("Retention:Message_RBV", lambda text: text.startswith("far: no snapshot from far"))
        far.launch_keeper()
        ioc.until("far:Retention:State_RBV", "Idle")  # without a limit it is Off
        ioc.until("Retention:State_RBV", "Idle")
        ioc.until("far:Retention:KeepHours_RBV", 25)
        assert ioc.stop() == 0
    with tempfile.TemporaryDirectory(prefix="pd", dir="/tmp") as another:  # the IOC on another host: no saved settings
        monkeypatch.setenv("XDG_RUNTIME_DIR", another)
        monkeypatch.setenv("XDG_STATE_HOME", f"{another}/state")
        with start(far.config) as ioc:
            ioc.until("Retention:KeepHours_RBV", 25)
            ioc.until("far:Retention:KeepHours_RBV", 25)


def test_folders_are_moved_and_kept_on_the_host(far: Far, tmp_path: Path) -> None:
    far.launch_keeper()
    make_buffer(tmp_path / "moved").claim(prefix_of(far.config))
    with start(far.config) as ioc:
        ioc.until("far:Retention:Files_RBV", 6)
        ioc.until("M00:State_RBV", "Receiving")
        assert "cannot be written" in ioc.refused("M00:Disk:Folder", "/tmp/unwritable")  # the receiver's words
        ioc.put("M00:Disk:Folder", f"{tmp_path}/moved")
        ioc.until("far:Retention:Files_RBV", 12)
        assert ioc.value("Disk:Folder") == ""
        text = ioc.refused("Disk:Folder", "/elsewhere")
        assert text.startswith("folder: found '/elsewhere', expected a place below the roots of every host (far: ")
        assert ioc.value("M00:Disk:Folder") == f"{tmp_path}/moved"
