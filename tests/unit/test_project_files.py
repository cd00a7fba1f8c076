"""The files for a forge and for those who join: they parse, and every target, path and command that they name exists."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ioc.cli import _COMMANDS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
YAML = [
    *sorted((ROOT / ".github").rglob("*.yml")),
    ROOT / ".pre-commit-config.yaml",
    ROOT / "CITATION.cff",
    *sorted((ROOT / "deploy").glob("*.yml")),
]
TEXTS = [*YAML, *sorted(ROOT.glob("*.md")), *sorted((ROOT / ".github").glob("*.md"))]


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in loaded(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", YAML, ids=name)
def test_it_parses(path: Path) -> None:
    assert isinstance(loaded(path), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_a_workflow_calls_make_and_nothing_else(path: Path) -> None:
    commands = [step["run"] for step in steps(path) if "run" in step]
    assert commands
    for command in commands:
        assert re.fullmatch(r"make [a-z-]+( PYTHON=python)?", command), command


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_a_workflow_ends_and_may_only_read(path: Path) -> None:
    workflow = loaded(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())
    assert all(re.search(r"^actions/[a-z-]+@v\d+$", step["uses"]) for step in steps(path) if "uses" in step)


def test_the_versions_tested_are_the_classifiers() -> None:
    declared = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    matrix = loaded(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert matrix == declared
    assert PROJECT["requires-python"] == f">={declared[0]}"


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_every_target_path_and_command_exists(path: Path) -> None:
    text = path.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|run: |\$ )make ([a-z-]+)", text)) - targets == set()
    paths = set(re.findall(r"(?:docs|tests|bench|tools|examples|deploy|\.github)/[\w./-]*\w", text))
    assert [found for found in paths if not (ROOT / found).exists()] == []
    assert set(re.findall(r"`pebbledaq ([a-z]+)", text)) - set(_COMMANDS) == set()


def test_the_citation_is_of_this_version() -> None:
    citation = loaded(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert [author["name"] for author in citation["authors"]] == ["The pebbledaq developers"]
    assert "The pebbledaq developers" in (ROOT / "LICENSE").read_text()


def test_pre_commit_runs_the_tools_of_make_check() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (local,) = (repo for repo in loaded(ROOT / ".pre-commit-config.yaml")["repos"] if repo["repo"] == "local")
    for hook in local["hooks"]:
        program = hook["entry"].split()[0]
        assert program.replace(".venv/bin", "$(BIN)") in makefile


def test_the_forms_for_issues_ask_for_something() -> None:
    for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")):
        if path.name != "config.yml":
            form = loaded(path)
            assert form["name"], path.name
            assert any(part.get("validations", {}).get("required") for part in form["body"]), path.name
