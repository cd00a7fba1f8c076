from pathlib import Path

import pytest

from detectors.cluster.parts import PartsFolder
from detectors.errors import HostError


def test_the_same_request_goes_on(tmp_path: Path) -> None:
    parts = PartsFolder(tmp_path / "a.h5", {"start": 1})
    assert parts.folder == tmp_path / "a.h5.parts"
    (parts.folder / "1.npz").touch()
    assert PartsFolder(tmp_path / "a.h5", {"start": 1}).folder == parts.folder
    assert (parts.folder / "1.npz").exists()


def test_parts_of_another_request_are_not_touched(tmp_path: Path) -> None:
    (PartsFolder(tmp_path / "a.h5", {"start": 1}).folder / "1.npz").touch()
    with pytest.raises(HostError, match=r"a\.h5\.parts: has parts of another command"):
        PartsFolder(tmp_path / "a.h5", {"start": 2})
    other = tmp_path / "b.h5.parts"
    other.mkdir()
    (other / "mine").touch()
    with pytest.raises(HostError, match="remove it, or choose another output"):
        PartsFolder(tmp_path / "b.h5", {"start": 2})


def test_a_folder_without_parts_is_taken_by_any_request(tmp_path: Path) -> None:
    PartsFolder(tmp_path / "a.h5", {"start": 1})
    parts = PartsFolder(tmp_path / "a.h5", {"start": 2})
    (parts.folder / "1.npz").touch()
    assert PartsFolder(tmp_path / "a.h5", {"start": 2}).folder == parts.folder


def test_what_killed_workers_left_is_removed(tmp_path: Path) -> None:
    parts = PartsFolder(tmp_path / "a.h5", {})
    for name in ("0.h5", "1.h5", ".1.h5.123.part"):
        (parts.folder / name).touch()
    parts.keep({"0.h5", "1.h5"})
    assert sorted(path.name for path in parts.folder.iterdir()) == ["0.h5", "1.h5"]
    parts.remove()
    assert not parts.folder.exists()


def test_no_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be made: No such file or directory"):
        PartsFolder(tmp_path / "nowhere" / "a.h5", {})
