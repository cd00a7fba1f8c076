"""Where reports go: standard output, as a document of JSON or as text of a fixed width when it is no terminal."""

import json
from typing import Any

from rich.console import Console


def print_json(tree: Any) -> None:
    """Print one document."""
    print(json.dumps(tree, indent=1))


def console(plain_width: int) -> Console:
    """Return standard output; ``plain_width`` is its columns when it is no terminal."""
    found = Console(highlight=False)
    if not found.is_terminal:
        found.width = plain_width
    return found
