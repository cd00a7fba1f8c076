import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.epics_env import isolate
from tests.support.monitor_process import MonitorProcess, monitors


@pytest.fixture(scope="module")
def runtime_dir() -> Iterator[Path]:
    """A runtime folder, for all tests of a module, with a path short enough for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="pd", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_epics(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of an EPICS that this test, and what it starts, has to itself."""
    return isolate(monkeypatch)


@pytest.fixture
def start_monitor(
    tmp_path: Path, short_runtime_dir: Path, own_epics: dict[str, str]
) -> Iterator[Callable[..., MonitorProcess]]:
    """What starts monitors in processes of their own, with EPICS to themselves; they end with the test."""
    with monitors(tmp_path) as make:
        yield make
