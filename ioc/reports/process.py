"""What ``process`` has made."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from detectors.processing.result_file import Processed


def as_dict(output: Path, processed: Processed, elapsed_s: float) -> dict[str, Any]:
    """Return it as JSON has it."""
    return {
        "file": str(output),
        "function": processed.function,
        "results": {
            name: {"shape": list(array.shape), "dtype": array.dtype.name} for name, array in processed.result.items()
        },
        **asdict(processed.pulses),
        **asdict(processed.counts),
        "elapsed_s": elapsed_s,
    }


def text(output: Path, processed: Processed, elapsed_s: float) -> str:
    """Return it as one line."""
    counts = processed.counts
    line = f"{output}: {', '.join(processed.result)} of {counts.images} images, {elapsed_s:.2f} s"
    if counts.incomplete:
        line += f"; {counts.incomplete} of them lack modules"
    if counts.unreadable:
        line += f"; {counts.unreadable} more could not be read"
    if counts.unreadable_files:
        line += f"; {counts.unreadable_files} files could not be read"
    return line
