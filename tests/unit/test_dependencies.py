"""What is imported is declared, what is declared is imported, and docs/explanation/dependencies.md gives the reason of each."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = (ROOT / "docs" / "explanation" / "dependencies.md").read_text()

OURS = {"ioc", "detectors", "db", "sim", "tests", "bench", "tools"}

NOT_IMPORTED = {"websockets"}
"""uvicorn imports it, for the class of websockets that we ask it for."""

NOT_INSTALLED = {"atheris"}
"""`make fuzz` installs it: it has no wheel for some versions of Python."""

PYDANTICS = {"annotated-types", "pydantic-core"}
"""They come with pydantic, whose version says which; the tools of docs/ use their types."""

UPPER_BOUNDS = {"softioc"}
"""Only what we use private fields of: ioc/epics.py."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(lines: list[str]) -> dict[str, str]:
    """Return the bound of each package; those of the extras of pebbledaq itself are listed there."""
    parts = [re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[[\w,]+\])?(.*)", line) for line in lines]
    return {p[1]: p[2].partition(";")[0] for p in parts if p and p[1] != PROJECT["name"]}


REQUIRED = requirements(PROJECT["dependencies"])
EXTRAS = {name: requirements(lines) for name, lines in PROJECT["optional-dependencies"].items()}
TOOLS = {"dev", "docs", "release"} & EXTRAS.keys()
"""Extras for those who change the program."""
USERS = REQUIRED | {p: b for name, extra in EXTRAS.items() if name not in TOOLS for p, b in extra.items()}
DEVELOPERS = {p: b for name in TOOLS for p, b in EXTRAS[name].items()}


def imports(path: Path) -> Iterator[str]:
    """Yield the first part of every module that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def imported(*folders: str) -> dict[str, set[str]]:
    """Return the distributions that the files of these folders import, each with the files."""
    known = packages_distributions()
    found: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        beside = {other.stem for other in path.parent.glob("*.py")}  # of a program that is run by its file
        for name in set(imports(path)) - sys.stdlib_module_names - OURS - NOT_INSTALLED - beside:
            for distribution in known.get(name, [name]):
                found.setdefault(canonical(distribution), set()).add(path.relative_to(ROOT).as_posix())
    return found


def names(declared: dict[str, str]) -> set[str]:
    return {canonical(name) for name in declared}


def test_every_import_of_the_program_is_declared() -> None:
    found = imported("ioc", "detectors", "db", "sim")
    assert {name: files for name, files in found.items() if name not in names(USERS)} == {}


def test_every_import_of_the_tests_is_declared() -> None:
    found = imported("tests", "bench", "docs", "examples", "tools")
    assert {name: files for name, files in found.items() if name not in names(USERS | DEVELOPERS) | PYDANTICS} == {}


def test_everything_declared_is_imported() -> None:
    assert names(USERS) - set(imported("ioc", "detectors", "db", "sim")) == NOT_IMPORTED


def test_what_is_of_an_extra_is_not_required_too() -> None:
    assert {p for name, extra in EXTRAS.items() for p in extra if p in REQUIRED} == set()


def test_the_extra_all_has_every_other_one_of_a_user() -> None:
    (own,) = PROJECT["optional-dependencies"]["all"]
    assert own == f"pebbledaq[{','.join(sorted(EXTRAS.keys() - {'all'} - TOOLS))}]"


def test_upper_bounds_are_those_of_private_fields() -> None:
    assert {name for name, bound in (USERS | DEVELOPERS).items() if re.search(r"[<~]|==", bound)} == UPPER_BOUNDS


@pytest.mark.parametrize("extra", ["required", *(name for name in EXTRAS if name != "all")])
def test_the_page_has_each_with_its_bound(extra: str) -> None:
    declared = REQUIRED if extra == "required" else EXTRAS[extra]
    heading = "## Required" if extra == "required" else f"## Extra `{extra}`"
    section = PAGE.partition(heading + "\n")[2].partition("\n## ")[0]
    rows = {
        name: (bound, reason)
        for name, bound, reason in re.findall(r"^\| `([^`[]+).*?` \| `(.+?)` \| (.+) \|$", section, re.MULTILINE)
    }
    assert {name: bound for name, (bound, _) in rows.items()} == declared
    assert [name for name, (_, rest) in rows.items() if "" in map(str.strip, rest.split("|"))] == []
