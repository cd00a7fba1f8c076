"""What is shown on pages and not run is checked: the rules are in ``tests/docs/__init__.py``."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from detectors.config import Config
from tests.docs.blocks import PAGES, ROOT, blocks, page_id, steps
from tests.docs.commands import calls, in_text, lines_of, missing_examples, problem

LANGUAGES = {"console", "toml", "python", "sh", "xml", "yaml", "json", "text"}

every_page = pytest.mark.parametrize("page", PAGES, ids=page_id)


@every_page
def test_every_block_has_a_language_that_is_checked(page: Path) -> None:
    text = page.read_text()
    assert {(b.line, b.language) for b in blocks(text) if b.language not in LANGUAGES} == set()
    assert text.count("\n```") % 2 == 0, "a block has no end"
    assert not re.search(r"^ +```", text, re.MULTILINE), "a block is indented, which no test finds"
    for block in blocks(text, "console"):
        assert list(steps(block)), f"line {block.line}: no command"


@every_page
def test_every_command_shown_exists_with_its_options(page: Path) -> None:
    text = page.read_text()
    shown = [line for block in blocks(text, "sh") for line in lines_of(block.text)]
    shown += [step.command for block in blocks(text, "console") for step in steps(block)]
    shown += in_text(text)
    wrong = [f"{' '.join(words)}: {problem(words)}" for line in shown for words in calls(line) if problem(words)]
    assert wrong == []
    assert missing_examples(text, ROOT) == []


@every_page
def test_every_configuration_shown_is_one(page: Path) -> None:
    for block in blocks(page.read_text(), "toml"):
        shown = tomllib.loads(block.text)
        Config.model_validate(shown if "detector" in shown else completed(shown))


def completed(part: dict[str, Any]) -> dict[str, Any]:
    """A configuration with what a part of one leaves out."""
    whole: dict[str, Any] = {"detector": {"name": "JF01", "prefix": "DAQ:JF01:"}}
    if not part.keys() & {"udp", "pva"}:
        whole["udp"] = [{"name": "M00", "port": 50020}]
    return whole | part


@every_page
def test_other_files_shown_are_well_formed(page: Path) -> None:
    text = page.read_text()
    for block in blocks(text, "xml"):
        ET.fromstring(block.text)  # noqa: S314  our own
    for block in blocks(text, "yaml"):
        yaml.safe_load(block.text)
    for block in blocks(text, "json"):
        json.loads(block.text)
    for block in blocks(text, "python"):
        compile(block.text, page_id(page), "exec")


def test_what_is_wrong_with_a_command_is_found() -> None:
    (words,) = calls("sudo -u daq A=b .venv/bin/pebbledaq sim udp 127.0.0.1:50020 --rate 10 &  # all")
    assert words == ["sim", "udp", "127.0.0.1:50020", "--rate", "10"]
    assert problem(words) == ""
    assert problem(["sim", "udp", "HOST:PORT", "--no-such"]).startswith("No such option")
    assert problem(["nothing"]) == "no command nothing"
    assert list(calls("python -m bench; pip install 'pebbledaq[web]'")) == []
    assert missing_examples("see examples/none.toml", ROOT) == ["examples/none.toml"]
