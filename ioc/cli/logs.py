"""What a command logs: as the configuration says, from the level of ``pebbledaq --log-level`` on when that is given."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from detectors.config import LogSection


def chosen_level() -> str | None:
    """Return the level given on the command line; None when none is."""
    return click.get_current_context().find_root().params.get("log_level")


def start_log(source: str, log: "LogSection | None" = None) -> None:
    """Log this process as ``source``: as ``log`` says, or warnings as text."""
    from detectors.config import LogSection
    from detectors.workers.logs import set_up

    section = log or LogSection(level="warning")
    level = chosen_level()
    set_up(source, section.model_copy(update={"level": level}) if level else section)
