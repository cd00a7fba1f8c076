"""Goes through a page from top to bottom, as a reader does."""

from collections.abc import Callable, Iterator
from itertools import pairwise

from tests.docs.blocks import Block, Step, blocks, steps
from tests.docs.shell import PageShell


def runs(page_text: str) -> bool:
    """Whether anything of the page is run."""
    return any(b.language == "console" or (b.language == "python" and not b.file_name) for b in blocks(page_text))


def takes_long(page_text: str) -> bool:
    """Whether the page starts servers."""
    all_steps = [step for block in blocks(page_text, "console") for step in steps(block)]
    return any(step.in_background or step.command.startswith("pebbledaq demo") for step in all_steps)


def walk(page: str, text: str, judge: Callable[[Step, list[str]], None], *, fill: bool = False) -> None:
    """Run all blocks of a page; ``judge`` is given each command with what it printed.

    With ``fill`` commands in the background are given time to print, also where nothing is shown.
    """
    with PageShell(text, fill=fill) as shell:
        for block in blocks(text):
            if block.file_name:
                shell.write(block.file_name, block.text)
            elif block.language == "python":
                shell.execute(block, page)
            elif block.language == "console":
                for step, code_expected in _with_codes(block):
                    judge(step, shell.run(step, code_expected=code_expected))


def _with_codes(block: Block) -> Iterator[tuple[Step, bool]]:
    """Each command, and whether the next one shows its exit code."""
    for step, following in pairwise([*steps(block), None]):
        assert step
        yield step, following is not None and following.command == "echo $?"
