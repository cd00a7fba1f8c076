"""The recipe of a release, without its slow part: what it compares, and that the wheel holds what the program needs at run time."""

import re
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from tools.release import PACKAGES, disagreements, in_wheel, wheel_files

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    return subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_wheel_holds_the_four_folders_the_examples_and_the_deployment(tracked: list[str], tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        assert in_wheel(archive.namelist()) == wheel_files(tracked)


def test_the_source_distribution_holds_the_tests_too(tracked: list[str], tmp_path: Path) -> None:
    (sdist,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in tracked if not name.startswith(".")} - held == set()
    assert not any(name.startswith(".ci") for name in held)


def test_every_file_that_the_program_opens_is_in_the_wheel(tracked: list[str]) -> None:
    templates = {name for name in tracked if name.endswith((".template", ".acf", ".html", ".js", ".css"))}
    assert {name.partition("/")[0] for name in templates} <= {*PACKAGES, "docs"}
    sources = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    assert [str(p) for p in sources if re.search(r"__file__|parents?\[\d\]", p.read_text())] == []


DATED = "# Changelog\n\n## 1.2.0 (2026-11-28)\n\n- New.\n\n## 1.1.0 (2026-01-01)\n"
UNRELEASED = DATED.replace("2026-11-28", "unreleased")


@pytest.mark.parametrize(
    ("changelog", "tags"), [(DATED, ["v1.2.0"]), (DATED, []), (UNRELEASED, []), (UNRELEASED, ["best"])]
)
def test_what_agrees(changelog: str, tags: list[str]) -> None:
    assert list(disagreements("1.2.0", changelog, tags)) == []


@pytest.mark.parametrize(
    ("version", "changelog", "tags", "message"),
    [
        ("1.3.0", DATED, [], "CHANGELOG.md: found 1.2.0 in the newest heading, expected 1.3.0 as in pyproject.toml"),
        ("1.2.0", DATED, ["v1.1.0"], "tag: found v1.1.0, expected v1.2.0 as in pyproject.toml"),
        ("1.2.0", UNRELEASED, ["v1.2.0"], "CHANGELOG.md: found (unreleased) in the newest heading of a commit with a tag, expected a date"),
        ("1.2.0", "# Changelog\n", [], 'CHANGELOG.md: found no heading, expected "## VERSION (DATE)"'),
    ],
)  # fmt: skip
def test_what_does_not(version: str, changelog: str, tags: list[str], message: str) -> None:
    assert list(disagreements(version, changelog, tags)) == [message]


def test_the_changelog_of_this_version_has_its_heading() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert list(disagreements(version, (ROOT / "CHANGELOG.md").read_text(), [])) == []
