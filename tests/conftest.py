import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from detectors.runtime_names import COUNTERS_VARIABLE

# A busy machine is slow now and then; and what CI tries is the same each time, so that it judges the change alone.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("suite"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "suite")

# A shell that runs the tests in the background ignores SIGINT, and processes inherit that: those of the tests shall not.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def counters_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for the counters pages of what runs for all tests of a module: none goes on with those of another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(COUNTERS_VARIABLE, str(tmp_path_factory.mktemp("counters")))
        yield


@pytest.fixture(autouse=True, scope="session")
def folders_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A runtime folder and one for the settings that IOCs save: no test meets a system of this host, or of another run."""
    runtime = tempfile.mkdtemp(prefix="pd", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", runtime)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.delenv("STATE_DIRECTORY", raising=False)
        yield
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture(autouse=True)
def counters_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the counters pages of one test."""
    folder = tmp_path_factory.mktemp("counters")
    monkeypatch.setenv(COUNTERS_VARIABLE, str(folder))
    return folder


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is entered ends with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def short_runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder with a path short enough for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="pd", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
