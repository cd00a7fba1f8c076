"""Write the pages of the reference that follow from the code: ``python docs/tools/make_reference.py``. ``--check`` only compares.

Run it after a change to a template, to the sections of the configuration, to a command or to the public API.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import reference_api
import reference_cli
import reference_configuration
import reference_pvs

FOLDER: Final = Path(__file__).resolve().parents[1] / "reference"

PAGES: Final[dict[str, Callable[[], str]]] = {
    "api.md": reference_api.page,
    "cli.md": reference_cli.page,
    "configuration.md": reference_configuration.page,
    "pvs.md": reference_pvs.page,
}


def main() -> int:
    """Write the pages, or with ``--check`` return 1 when one is not up to date."""
    stale: list[str] = []
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(f"docs/reference/{name}")
    for name in stale:
        sys.stderr.write(f"{name} is not what the code gives; run: python docs/tools/make_reference.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
