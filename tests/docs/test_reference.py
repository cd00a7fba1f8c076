"""The pages of the reference are what the code gives."""

import importlib
import itertools
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from detectors import api
from detectors.config import Config
from ioc.cli import _COMMANDS
from tests.docs.blocks import ROOT

REFERENCE = ROOT / "docs" / "reference"
PAGE = ROOT / "docs" / "reference" / "pvs.md"


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def expanded(name: str) -> list[str]:
    """The names that a pattern with braces stands for."""
    parts = re.split(r"\{([^}]*)\}", name.strip("`"))
    return ["".join(p) for p in itertools.product(*(part.split(",") for part in parts))]


def row(name: str) -> list[str]:
    (found,) = [cells for cells in rows() if name in expanded(cells[0])]
    return found[1:]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A module of docs/tools by its name."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs" / "tools"), *sys.path])
    return importlib.import_module


@pytest.mark.parametrize("name", ["api.md", "cli.md", "configuration.md", "pvs.md"])
def test_a_page_is_up_to_date(name: str, tool: Callable[[str], Any]) -> None:
    pages = tool("make_reference").PAGES
    stale = f"{name} is not what the code gives; run: python docs/tools/make_reference.py"
    assert (REFERENCE / name).read_text() == pages[name](), stale


def test_every_key_command_and_name_is_on_its_page() -> None:
    keys = (REFERENCE / "configuration.md").read_text()
    assert [name for name in Config.model_fields if f"[{name}]" not in keys] == []
    commands = (REFERENCE / "cli.md").read_text()
    assert [name for name in _COMMANDS if f"## pebbledaq {name}\n" not in commands] == []
    names = (REFERENCE / "api.md").read_text()
    assert [name for name in api.__all__ if f"## {name}\n" not in names] == []


def test_what_scripts_may_import_is_there() -> None:
    assert sorted(api.__all__) == api.__all__
    assert all(hasattr(api, name) for name in api.__all__)
    assert (ROOT / "detectors" / "py.typed").exists()


def test_every_record_is_on_it_once(tool: Callable[[str], Any]) -> None:
    on_page = [name for cells in rows() for name in expanded(cells[0])]
    loaded = [name for load in tool("reference_pvs").shown() for name in load.names()]
    assert sorted(on_page) == sorted(loaded)


def test_a_row_says_what_its_record_is() -> None:
    assert row("DAQ:BOTH:M01:PacketsLostRecently_RBV") == [
        "int64in",
        "packets",
        "Packets lost, last 10 s",
        "MINOR from 1; MAJOR from 128",
    ]
    assert row("DAQ:BOTH:Acquire")[:2] == ["bo", "Done, Acquire"]
    assert row("DAQ:BOTH:M00:State_RBV")[-1] == "MAJOR: Stalled, Failed"
