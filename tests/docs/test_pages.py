"""The pages run as they stand, and print what they show: the rules are in ``tests/docs/__init__.py``."""

from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, Step, page_id
from tests.docs.shape import agrees
from tests.docs.walk import runs, takes_long, walk


def pages() -> list[object]:
    found = [(page, page.read_text()) for page in PAGES]
    return [
        pytest.param(page, id=page_id(page), marks=[pytest.mark.long] if takes_long(text) else [])
        for page, text in found
        if runs(text)
    ]


@pytest.mark.timeout(200)
@pytest.mark.parametrize("page", pages())
def test_a_page_runs_as_shown(page: Path) -> None:
    def judge(step: Step, printed: list[str]) -> None:
        assert agrees(step.shown, printed, to_the_end=not step.in_background), (
            f"{page_id(page)}, line {step.line}: {step.command}\n"
            "--- shown\n" + "\n".join(step.shown) + "\n--- printed\n" + "\n".join(printed)
        )

    walk(page_id(page), page.read_text(), judge)
