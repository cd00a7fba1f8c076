"""The balance of a snapshot that came as JSON."""

from typing import Any

from detectors.balance import balance


def imbalance(kind: Any, tree: dict[str, Any]) -> dict[str, int]:
    """Return the lines of the balance that are not 0 in a snapshot of the dataclass ``kind``."""
    return {line: rest for line, rest in balance(_built(kind, tree)).items() if rest}


def _built(kind: Any, tree: dict[str, Any]) -> Any:
    default = kind()
    built = {k: _built(type(getattr(default, k)), v) if isinstance(v, dict) else v for k, v in tree.items()}
    return kind(**built) if kind is not dict else built
