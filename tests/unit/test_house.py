"""The house rules: imports, style, types and documents, checked as a user would."""

import ast
import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from detectors import stats

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def test_the_required_folders_are_packages() -> None:
    for folder in ("ioc", "detectors", "db", "sim", "tests"):
        assert (ROOT / folder / "__init__.py").is_file()


def test_no_two_classes_or_types_share_a_name() -> None:
    places: dict[str, list[str]] = {}
    for folder in ("detectors", "ioc", "sim"):
        for path in (ROOT / folder).rglob("*.py"):
            for name in re.findall(
                r"^(?:class )?([A-Z]\w*[a-z]\w*)(?=\(|:$|: TypeAlias = | = )", path.read_text(), re.MULTILINE
            ):
                places.setdefault(name, []).append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


TABLES = {"detectors/stats.py": "every counter", "detectors/config/sections.py": "every setting"}


def test_a_file_and_a_class_are_short_enough_to_be_read() -> None:
    long: list[str] = []
    for path in (path for folder in ("detectors", "ioc", "sim", "bench") for path in (ROOT / folder).rglob("*.py")):
        name, text = path.relative_to(ROOT).as_posix(), path.read_text()
        if len(text.splitlines()) > 350 and name not in TABLES:
            long.append(name)
        classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
        long += [f"{name}: {c.name}" for c in classes if (c.end_lineno or 0) - c.lineno >= 250]
    assert long == []


def test_every_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs" / "decisions").glob("*.md")]
    assert len(set(numbers)) == len(numbers)


def test_every_link_in_the_documents_leads_somewhere() -> None:
    broken = []
    for page in [
        *ROOT.glob("*.md"),
        ROOT / "detectors" / "pva" / "README.md",
        *ROOT.glob("docs/**/*.md"),
    ]:
        targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
        broken += [
            f"{page.relative_to(ROOT)}: {target}"
            for target in targets
            if "://" not in target and not (page.parent / target).exists()
        ]
    assert broken == []


def test_every_counter_is_in_the_document() -> None:
    text = (ROOT / "docs" / "reference" / "counters.md").read_text()
    missing = [
        f"{name}.{f.name}"
        for name, kind in vars(stats).items()
        if dataclasses.is_dataclass(kind) and name.endswith("Stats")
        for f in dataclasses.fields(kind)
        if f"`{f.name}`" not in text
    ]
    assert missing == []


def test_nothing_committed_names_a_machine() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    names = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    own = Path(__file__).relative_to(ROOT).as_posix()
    for name in names:
        path = ROOT / name
        if name == own or not path.is_file():
            continue
        text = path.read_bytes()
        assert b"/home/" not in text, name
        assert b"/root/" not in text, name


def test_nothing_but_tests_imports_tests() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in ("bench", "db", "detectors", "examples", "ioc", "sim")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(?:from|import) tests\b|[\"']tests\.", path.read_text(), re.MULTILINE)
    ]
    assert found == []
