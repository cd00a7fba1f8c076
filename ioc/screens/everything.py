"""All screens of a configuration, and their files."""

from collections.abc import Iterator
from pathlib import Path

from detectors.config import Config
from ioc.screens.capture import capture
from ioc.screens.expert import expert
from ioc.screens.overview import overview
from ioc.screens.parts import Parts
from ioc.screens.phoebus import bob
from ioc.screens.pydm import ui
from ioc.screens.retention import retention
from ioc.screens.source import camera, module
from ioc.screens.widgets import ScreenPlan


def screens(config: Config) -> list[ScreenPlan]:
    """Return the screens of a configuration: those of parts that it does not have are left out."""
    parts = Parts.of(config)
    found = [overview(parts)]
    if modules := [source for source in parts.sources if source.is_module]:
        found.append(module(parts, modules[0]))
    if cameras := [source for source in parts.sources if not source.is_module]:
        found.append(camera(parts, cameras[0]))
    if parts.with_files:
        found.append(capture(parts))
    if parts.has_disk:
        found.append(retention(parts))
    return [*found, expert(parts)]


def files(config: Config) -> Iterator[tuple[Path, str]]:
    """Yield the name and the text of every file: each screen for Phoebus and for PyDM."""
    for screen in screens(config):
        yield Path(f"{screen.name}.bob"), bob(screen)
        yield Path(f"{screen.name}.ui"), ui(screen)
