"""Build the source distribution and the wheel, check them, and run the demo from a fresh installation: ``make release``.

At a commit with a tag, version, CHANGELOG and tag must agree. Without one it is a rehearsal: the heading may say "unreleased".
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import venv
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
DIST: Final = ROOT / "dist"
PACKAGES: Final = "ioc", "detectors", "db", "sim"
SHARED: Final = "examples", "deploy"
"""Folders that the wheel puts below share/pebbledaq."""

_HEADING: Final = re.compile(r"^## (\S+) \((\d{4}-\d{2}-\d{2}|unreleased)\)$", re.MULTILINE)
_OUR_VARIABLES: Final = "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"


class ReleaseError(Exception):
    """What is built is no release. The message is for the maintainer."""


def disagreements(version: str, changelog: str, tags: Iterable[str]) -> Iterator[str]:
    """Yield how the version, the newest heading of the CHANGELOG and the tags of the commit contradict one another."""
    heading = _HEADING.search(changelog)
    if heading is None:
        yield 'CHANGELOG.md: found no heading, expected "## VERSION (DATE)"'
        return
    if heading[1] != version:
        yield f"CHANGELOG.md: found {heading[1]} in the newest heading, expected {version} as in pyproject.toml"
    released = [tag for tag in tags if re.fullmatch(r"v\d.*", tag)]
    yield from (
        f"tag: found {tag}, expected v{version} as in pyproject.toml" for tag in released if tag != f"v{version}"
    )
    if released and heading[2] == "unreleased":
        yield "CHANGELOG.md: found (unreleased) in the newest heading of a commit with a tag, expected a date"


def wheel_files(tracked: Iterable[str]) -> set[str]:
    """Return the files of the repository that a wheel must hold, by their paths in the repository."""
    return {name for name in tracked if name.partition("/")[0] in (*PACKAGES, *SHARED)}


def in_wheel(names: Iterable[str]) -> set[str]:
    """Return the files of a wheel by their paths in the repository; its own metadata is left out."""
    found = (re.sub(r"^pebbledaq-[^/]+\.data/data/share/pebbledaq/", "", name) for name in names)
    return {name for name in found if ".dist-info/" not in name}


def main() -> None:
    """Do all of it; ends with exit code 1 at the first thing that is wrong."""
    began_s = time.monotonic()
    try:
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        tags = _git("tag", "--points-at", "HEAD")
        if problems := list(disagreements(version, (ROOT / "CHANGELOG.md").read_text(), tags)):
            raise ReleaseError("\n".join(problems))
        if tags and _git("status", "--porcelain"):
            raise ReleaseError("git: found changes that are not committed, expected what the tag names")
        wheel, sdist = _build(version)
        _check(wheel, sdist)
        took_s = _try(wheel, version)
    except (ReleaseError, subprocess.CalledProcessError) as error:
        sys.exit(f"release: {error}")
    kind = f"{tags[0]} is ready" if tags else "this was a rehearsal: the commit has no tag"
    print(
        f"release: {version} in {DIST}; the demo from the wheel took {took_s:.0f} s, all {time.monotonic() - began_s:.0f} s; {kind}"
    )


def _build(version: str) -> tuple[Path, Path]:
    shutil.rmtree(DIST, ignore_errors=True)
    _run(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
    wheel, sdist = DIST / f"pebbledaq-{version}-py3-none-any.whl", DIST / f"pebbledaq-{version}.tar.gz"
    if found := {wheel, sdist} ^ set(DIST.iterdir()):
        raise ReleaseError(f"dist: {', '.join(sorted(path.name for path in found))} missing or too many")
    _run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    return wheel, sdist


def _check(wheel: Path, sdist: Path) -> None:
    tracked = _git("ls-files")
    with zipfile.ZipFile(wheel) as archive:
        if found := wheel_files(tracked) ^ in_wheel(archive.namelist()):
            raise ReleaseError(f"{wheel.name}: {', '.join(sorted(found))} missing or too many")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    if found := {name for name in tracked if not name.startswith(".")} - held:
        raise ReleaseError(f"{sdist.name}: {', '.join(sorted(found))} missing")


def _try(wheel: Path, version: str) -> float:
    """Install the wheel in a fresh environment, outside of the checkout, and run the demo there; return how long that took, s."""
    environment = {key: value for key, value in os.environ.items() if key not in _OUR_VARIABLES}
    with tempfile.TemporaryDirectory(prefix="pebbledaq-release-") as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True, symlinks=True)
        python, program = folder / "venv/bin/python", folder / "venv/bin/pebbledaq"
        _run(
            python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=folder, env=environment
        )
        shown = subprocess.run(
            [program, "--version"], cwd=folder, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        if shown[-1] != version:
            raise ReleaseError(f"pebbledaq --version: found {shown[-1]}, expected {version}")
        began_s = time.monotonic()
        _run(program, "demo", cwd=folder, env=environment)
        return time.monotonic() - began_s


def _git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def _run(*words: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    print("$", *words, flush=True)
    subprocess.run([str(word) for word in words], cwd=cwd, env=env, check=True)


if __name__ == "__main__":
    main()
