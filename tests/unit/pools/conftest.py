import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def shm_path() -> Iterator[Path]:
    """A name in /dev/shm that must be free again when the test ends."""
    path = Path("/dev/shm") / f"pebbledaq-test-{uuid.uuid4().hex}"
    yield path
    left = path.exists()
    path.unlink(missing_ok=True)
    assert not left, "the segment was left behind"
