import gc
import os
import re
from pathlib import Path

import numpy as np
import pytest

from detectors.errors import HostError, UseAfterReleaseError
from detectors.pools import region as region_module
from detectors.pools.region import PAGE, Region, round_to_page


def resident_kb(address: int) -> int:
    """Resident size of the mapping that starts at or holds ``address``."""
    held = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            held = int(match[1], 16) <= address < int(match[2], 16)
        elif held and line.startswith("Rss:"):
            return int(line.split()[1])
    return 0


def mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(("nbytes", "pages"), [(0, 0), (1, 1), (PAGE, 1), (PAGE + 1, 2)])
def test_pages(nbytes: int, pages: int):
    assert round_to_page(nbytes) == pages * PAGE


def test_anonymous_memory_is_aligned_zero_and_resident():
    region = Region.anonymous(8 << 20)
    assert region.address % PAGE == 0
    assert region.array.ctypes.data == region.address
    assert len(region.view) == region.nbytes == 8 << 20
    assert resident_kb(region.address) >= 8 << 10
    assert not region.array.any()
    region.view[5] = 9
    assert region.array[5] == 9
    assert not region.replaced()
    region.close()


def test_an_older_kernel_gets_its_pages_touched(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(region_module, "_MADV_POPULATE_WRITE", 0x7FFF)  # EINVAL, as before Linux 5.14
    region = Region.anonymous(4 << 20)
    assert resident_kb(region.address) >= 4 << 10
    region.close()


def test_shared_memory_is_allocated_private_to_the_user_and_seen_by_others(shm_path: Path):
    region = Region.shared(shm_path, 3 * PAGE - 1)
    status = shm_path.stat()
    assert status.st_mode & 0o777 == 0o600
    assert status.st_size == status.st_blocks * 512 == 3 * PAGE
    other = Region.attach(shm_path)
    region.array[7] = 42
    assert other.array[7] == 42
    assert other.view.readonly
    assert not other.array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        other.array[7] = 1
    other.close()
    region.unlink()
    region.close()


def test_a_stale_segment_is_replaced_and_its_reader_sees_it(shm_path: Path):
    old = Region.shared(shm_path, PAGE)
    reader = Region.attach(shm_path)
    assert not reader.replaced()
    new = Region.shared(shm_path, 2 * PAGE)
    assert reader.replaced()
    assert old.replaced()
    old.unlink()  # must not take the new one's name
    assert shm_path.exists()
    new.unlink()
    assert new.replaced()
    for region in (old, reader, new):
        region.close()


def test_close_is_idempotent_and_memory_goes_with_the_last_view(shm_path: Path):
    region = Region.shared(shm_path, PAGE)
    view, array = region.view[10:20], region.array[20:30]
    view[0] = 1
    region.unlink()
    region.close()
    region.close()
    assert region.closed
    with pytest.raises(UseAfterReleaseError):
        _ = region.array
    with pytest.raises(UseAfterReleaseError):
        _ = region.view
    assert view[0] == 1
    array[:] = 3
    assert mapped(shm_path)
    view.release()
    del array
    gc.collect()
    assert not mapped(shm_path)


@pytest.mark.parametrize("nbytes", [1 << 62, 1 << 70])
def test_too_much_memory_is_one_line(nbytes: int, shm_path: Path):
    for make in (lambda: Region.anonymous(nbytes), lambda: Region.shared(shm_path, nbytes)):
        with pytest.raises(HostError, match="cannot allocate") as caught:
            make()
        assert "\n" not in str(caught.value)
    assert not shm_path.exists()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path):
    with pytest.raises(HostError, match="cannot create shared memory"):
        Region.shared(tmp_path / "missing" / "segment", PAGE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_memory_of_another_user_is_not_attached_to(tmp_path: Path):
    path = tmp_path / "forged"
    path.write_bytes(bytes(PAGE))
    os.chown(path, 12345, -1)
    with pytest.raises(HostError, match="found shared memory of user 12345"):
        Region.attach(path)


def test_nothing_to_attach_to(tmp_path: Path):
    with pytest.raises(HostError, match="is its worker running"):
        Region.attach(tmp_path / "missing")
    (tmp_path / "empty").touch()
    with pytest.raises(HostError, match="still being made"):
        Region.attach(tmp_path / "empty")


def test_the_array_and_the_view_are_the_same_memory():
    region = Region.anonymous(PAGE)
    assert np.shares_memory(region.array, np.frombuffer(region.view, np.uint8))
    region.close()
