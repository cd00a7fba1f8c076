"""``make docs`` builds the pages without a warning, and every page is in the contents."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT


def test_every_page_is_in_the_index_with_a_line_that_describes_it() -> None:
    listed: list[str] = []
    for index in ("index.md", "decisions/index.md"):
        path = ROOT / "docs" / index
        rows = re.findall(r"^\|[^|\[]*\[[^]]+\]\(([\w/-]+\.md)\) \| \S.* \|$", path.read_text(), re.MULTILINE)
        listed += [str((path.parent / row).relative_to(ROOT / "docs")) for row in rows]
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").glob("**/*.md")]
    assert sorted([*listed, "index.md"]) == sorted(pages)


@pytest.mark.long
def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    command = next(line.split() for line in (ROOT / "Makefile").read_text().splitlines() if "sphinx" in line)
    words = [*command[1:-1], str(tmp_path / "docs")]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "docs" / "how-to" / "run.html").exists()
