"""How the systems of this host are, once or again and again."""

import json
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Group
from rich.live import Live
from rich.text import Text

from detectors.config import load_config
from detectors.errors import HostError
from detectors.runtime_names import RuntimeNames
from detectors.workers.commands import SILENCE_S
from detectors.workers.lock import running_systems
from ioc.glance.gather import System
from ioc.glance.table import WIDTH, render
from ioc.glance.verdict import hosts_of
from ioc.reports.output import console, print_json

_LOOK_S: Final = 0.5
_PLAIN_EVERY_S: Final = 5.0
_SPAN_S: Final = 1.5
"""For so long losses are looked for when the status is asked once, s."""


def systems_of(config: Path | None) -> list[System]:
    """Return the system of a configuration, or those that run. Raises HostError when none does."""
    if config is not None:
        loaded = load_config(config)
        return [System(loaded.runtime_names, loaded)]
    found = [System(runtime) for runtime in running_systems()]
    if not found:
        raise HostError(
            f"{RuntimeNames.all_folders()}: found no running system of this account, expected at least one; give the CONFIG of "
            "one that is down, or set XDG_RUNTIME_DIR as its service does"
        )
    return found


def look_once(systems: list[System]) -> None:
    """Look until every worker was heard and losses could show."""
    began_s = time.monotonic()
    while True:
        for system in systems:
            system.look(_LOOK_S / len(systems))
        passed_s = time.monotonic() - began_s
        heard = all(system.heard_all for system in systems)
        idle = not any(view.running for system in systems for view in system.workers)
        if idle or (heard and min(system.span_s for system in systems) >= _SPAN_S) or passed_s > SILENCE_S + _SPAN_S:
            return


def watch(systems: list[System], *, as_json: bool) -> None:
    """Show the systems until KeyboardInterrupt."""
    if as_json:
        while True:
            for system in systems:
                system.look(1.0 / len(systems))
            print(json.dumps([_tree(system) for system in systems]), flush=True)
    out = console(WIDTH)
    if not out.is_terminal:
        while True:
            for system in systems:
                system.look(_PLAIN_EVERY_S / len(systems))
            out.print(_screen(systems))
    with Live(console=out, auto_refresh=False) as live:
        while True:
            for system in systems:
                system.look(_LOOK_S / len(systems))
            live.update(Group(_screen(systems), Text("Ctrl-C ends it", style="dim")), refresh=True)


def show(systems: list[System], *, as_json: bool) -> None:
    """Print how the systems are."""
    if as_json:
        print_json([_tree(system) for system in systems])
    else:
        console(WIDTH).print(_screen(systems))


def _screen(systems: list[System]) -> Group:
    return Group(*(render(system.prefix, system.workers, system.verdict, system.span_s) for system in systems))


def _tree(system: System) -> dict[str, Any]:
    """Return a system as JSON has it."""
    return {
        "prefix": system.prefix,
        "word": system.verdict.word.name.lower(),
        "reasons": system.verdict.reasons,
        "ioc_running": system.ioc_running,
        "recent_s": round(system.span_s, 1),
        "hosts": {
            host.name: {"workers": host.workers, "responding": host.responding} for host in hosts_of(system.workers)
        },
        "workers": {
            view.name: {
                "host": view.host,
                "state": view.state,
                "running": view.running,
                "responding": view.responding,
                "wanted": view.wanted,
                "lost_recently": dict(view.gains),
                "values": dict(view.values),
            }
            for view in system.workers
        },
    }
