import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def runtime_dir() -> Iterator[Path]:
    """A runtime folder, for all tests of a module, with a path short enough for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="pd", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        yield folder
    shutil.rmtree(folder, ignore_errors=True)
