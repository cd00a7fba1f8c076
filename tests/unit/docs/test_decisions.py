"""The index of the decisions lists each of them, in order, with its title."""

import re

from tests.unit.test_documents import ROOT

FOLDER = ROOT / "docs" / "decisions"


def test_every_decision_is_in_the_index() -> None:
    listed = re.findall(r"^\| (\d+)\. \[(.+?)\]\((.+?)\) \| .+ \|$", (FOLDER / "index.md").read_text(), re.MULTILINE)
    titles = [(path.name, path.read_text().splitlines()[0]) for path in sorted(FOLDER.glob("0*.md"))]
    assert [(name, f"# {number}. {title}") for number, title, name in listed] == titles
