import os
from pathlib import Path

import pytest

from detectors.errors import CommandError
from detectors.roots import confined


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize("below", ["", "a", "a/b", "a/../b", "./a/"])
def test_a_root_and_all_below_it_is_allowed(root: Path, below: str) -> None:
    assert confined(f"{root}/{below}", [root]) == Path(os.path.normpath(root / below))
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    "outside", ["/etc", "/dev/shm", "/", "{root}x", "{root}/..", "{root}/a/../../b", "{root}/../data2"]
)
def test_all_else_is_refused_with_the_roots(root: Path, outside: str) -> None:
    with pytest.raises(CommandError, match=f"expected a place below the roots {root}, /mnt/other$"):
        confined(outside.replace("{root}", str(root)), [root, Path("/mnt/other")])


def test_a_symlink_out_of_the_roots_is_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "inside").mkdir()
    (root / "short").symlink_to(root / "inside")
    for path in (root / "link", root / "link" / "a"):
        with pytest.raises(CommandError, match=f"which leads to {tmp_path}/secret.*, expected a place below the roots"):
            confined(path, [root])
    assert confined(root / "short" / "a", [root]) == root / "inside" / "a"


def test_a_root_may_be_a_symlink(root: Path, tmp_path: Path) -> None:
    (tmp_path / "name").symlink_to(root)
    assert confined(tmp_path / "name" / "a", [tmp_path / "name"]) == root / "a"
    assert confined(root / "a", [tmp_path / "name"]) == root / "a"


def test_a_root_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=f"the root {tmp_path}/disk does not exist; mount its disk or create it"):
        confined(tmp_path / "disk" / "a", [tmp_path / "disk"])
    assert not (tmp_path / "disk").exists()


def test_a_wider_root_that_is_there_is_enough(root: Path) -> None:
    assert confined(root / "a" / "b", [root / "a", root]) == root / "a" / "b"


@pytest.mark.parametrize("path", ["", "here", "./x", "~/x"])
def test_a_relative_path_is_refused(root: Path, path: str) -> None:
    with pytest.raises(CommandError, match=f"^FilePath: found {path!r}, expected an absolute path"):
        confined(path, [root], "FilePath")


def test_what_is_no_path_is_one_line(root: Path) -> None:
    (root / "a").symlink_to(root / "b")
    (root / "b").symlink_to(root / "a")
    for path in (f"{root}/a", f"{root}/a/x", f"{root}/\0"):
        with pytest.raises(CommandError, match=r"^folder: .* is no path"):
            confined(path, [root])
