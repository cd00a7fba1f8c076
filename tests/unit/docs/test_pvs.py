"""The page of all PVs is what the templates give."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

from detectors.config import load_config
from ioc.templates import loads

ROOT = Path(__file__).parents[3]
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


def test_the_page_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "docs/tools/make_pvs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_record_is_on_it_once() -> None:
    on_page = [name for cells in rows() for name in expanded(cells[0])]
    loaded = [name for load in loads(load_config(ROOT / "examples" / "both.toml")) for name in load.names()]
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
