"""Configuration of Sphinx: ``make docs`` builds the pages, which are plain Markdown, into build/docs."""

import re
from importlib.metadata import version as version_of
from typing import Final

from sphinx.application import Sphinx

project = "pebbledaq"
version = release = version_of("pebbledaq")
extensions = ["myst_parser"]
exclude_patterns = ["tools"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "pebbledaq"
html_show_copyright = False
html_copy_source = False

_INDEXES: Final = ("index", "decisions/index")
_LINK: Final = re.compile(r"^\|[^|[]*\[[^]]*\]\(([\w/-]+)\.md\)", re.MULTILINE)


def _add_contents(_app: Sphinx, name: str, source: list[str]) -> None:
    """Give an index the tree of contents that its tables stand for: on a forge such a tree would be a block of code."""
    if name in _INDEXES:
        sections = re.split(r"^## ", source[0], flags=re.MULTILINE)
        source[0] += "".join(_contents(section.partition("\n")[0], _LINK.findall(section)) for section in sections)


def _contents(title: str, pages: list[str]) -> str:
    caption = "" if title.startswith("# ") else f":caption: {title}\n"
    return f"\n\n```{{toctree}}\n:hidden:\n{caption}\n" + "\n".join(pages) + "\n```\n" if pages else ""


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("source-read", _add_contents)
