import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from detectors.errors import HostError
from detectors.runtime_names import RuntimeNames
from detectors.workers.lock import hold_lock, is_running, remove_leftovers

WORKER = "udp.M00"


@pytest.fixture
def runtime(short_runtime_dir: Path) -> Iterator[RuntimeNames]:
    yield RuntimeNames("T:LOCK:")
    assert [p for p in short_runtime_dir.rglob("*") if not p.is_dir()] == []


def test_a_worker_runs_once(runtime: RuntimeNames) -> None:
    with hold_lock(runtime, WORKER):
        assert is_running(runtime, WORKER) == os.getpid()
        with pytest.raises(HostError, match=rf"already running as process {os.getpid()}"), hold_lock(runtime, WORKER):
            pass
    assert is_running(runtime, WORKER) is None


def test_what_a_killed_worker_left_is_removed(runtime: RuntimeNames) -> None:
    program = textwrap.dedent(
        f"""
        from detectors.runtime_names import RuntimeNames
        from detectors.workers.runtime import run_part
        from tests.support.fake_part import FakePart
        runtime = RuntimeNames({runtime.prefix!r})
        part = FakePart()
        opened = part.open
        part.open = lambda *a: runtime.shm(part.name).write_bytes(b"x") and opened(*a)
        run_part(part, runtime, 1.0)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"READY udp.M00 here\n"
        assert is_running(runtime, WORKER) == process.pid
        assert remove_leftovers(runtime, WORKER) == []
        process.kill()
        process.wait()
    assert is_running(runtime, WORKER) is None
    assert runtime.shm(WORKER).exists()
    removed = remove_leftovers(runtime, WORKER)
    assert runtime.shm(WORKER) in removed
    assert not runtime.shm(WORKER).exists()
    assert list(runtime.folder.iterdir()) == []


@pytest.mark.parametrize("level", ["folder", "parent"])
def test_a_runtime_folder_that_lets_others_in_is_refused(runtime: RuntimeNames, level: str) -> None:
    runtime.make_folder()
    open_folder = runtime.folder if level == "folder" else runtime.folder.parent
    open_folder.chmod(0o777)
    with pytest.raises(HostError, match=r"found owner \d+ and mode 777, expected a folder of owner \d+ with mode 700"):
        runtime.make_folder()


def test_a_runtime_folder_of_another_owner_is_refused(runtime: RuntimeNames, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.make_folder()
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    monkeypatch.setattr(RuntimeNames, "folder", runtime.folder)
    with pytest.raises(
        HostError, match=f"found owner {owner} and mode 700, expected a folder of owner {owner + 1} with"
    ):
        runtime.make_folder()


def test_a_link_in_place_of_the_runtime_folder_is_refused(runtime: RuntimeNames, tmp_path: Path) -> None:
    runtime.make_folder()
    runtime.folder.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    runtime.folder.symlink_to(elsewhere)
    with pytest.raises(HostError, match="expected a folder"):
        runtime.make_folder()
    runtime.folder.unlink()
