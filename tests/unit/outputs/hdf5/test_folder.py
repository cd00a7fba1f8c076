import os
from pathlib import Path

import pytest

from detectors.errors import CommandError, HostError
from detectors.outputs.hdf5.folder import free_bytes, make_folder, writable_folder


def test_a_folder_is_made_and_taken(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_folder(folder)
    make_folder(folder)
    assert writable_folder(str(folder), [tmp_path]) == folder
    assert os.listdir(folder) == []
    assert free_bytes(folder) > 0


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="cannot be made: Not a directory"):
        make_folder(tmp_path / "file" / "a")


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("", "expected an absolute path"),
        ("here", "expected an absolute path"),
        ("/nowhere/at/all", "is not a folder; make it first"),
        ("/proc/self", "cannot be written"),
    ],
)
def test_a_folder_without_use_is_refused(folder: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        writable_folder(folder, [Path("/")])


def test_no_folder_has_no_space(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "nowhere") == 0
