"""The blocks of a page, and the commands in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md"), *(ROOT / "detectors").glob("**/*.md")})

_FENCE = re.compile(r"^```(?P<language>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"\A(?:#|<!--) (?P<name>[\w./-]+\.[a-z]+)(?: -->)?\n")


@dataclass
class Block:
    language: str
    text: str
    line: int
    """Of the page: the line of the fence."""

    @property
    def file_name(self) -> str | None:
        """The file that the block is to be written to."""
        found = _FILE_NAME.match(self.text)
        return found["name"] if found and self.language in ("toml", "python", "xml", "yaml") else None


@dataclass
class Step:
    """A command, and what it prints."""

    command: str
    line: int
    """Of the page: the line of the command."""
    shown: list[str] = field(default_factory=list)
    shown_from: int = 0
    """Of the page: the line below the command."""

    @property
    def in_background(self) -> bool:
        return self.command.endswith("&") and not self.command.endswith("&&")


def blocks(text: str, language: str | None = None) -> list[Block]:
    """All blocks of a page, or those of one language."""
    found = [Block(m["language"], m["text"], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]
    return [b for b in found if language in (None, b.language)]


def steps(block: Block) -> Iterator[Step]:
    """The commands of a console block."""
    step: Step | None = None
    for line, text in enumerate(block.text.splitlines(), block.line + 1):
        if text.startswith("$ "):
            if step:
                yield step
            step = Step(text[2:].rstrip(), line, shown_from=line + 1)
        elif step and not step.shown and text.startswith("> "):
            step.command += "\n" + text[2:]
            step.shown_from = line + 1
        else:
            assert step, f"line {line}: found {text!r}, expected a command that begins with '$ '"
            step.shown.append(text)
    if step:
        yield step


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))
