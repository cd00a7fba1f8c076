"""``pebbledaq status``: how the systems of this host are, in one screen."""

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from detectors.config import load_config
from detectors.errors import HostError
from detectors.runtime import Runtime
from detectors.workers.lock import running_systems
from ioc.cli import arguments
from ioc.glance.gather import SILENCE_S, System
from ioc.glance.table import WIDTH, render
from ioc.glance.verdict import Word
from ioc.progress import working

_LOOK_S: Final = 0.5
_PLAIN_EVERY_S: Final = 5.0
_SPAN_S: Final = 1.5
"""For so long losses are looked for when the status is asked once, s."""


@click.command("status")
@click.argument("config", type=click.Path(path_type=Path), required=False)
@arguments.as_json
@click.option("--watch", is_flag=True, help="Renew it until Ctrl-C.")
def command(config: Path | None, as_json: bool, watch: bool) -> None:
    """Show how the system of CONFIG is; without CONFIG all systems of this account that run on this host.

    With --watch and --json it prints a line of JSON a second. It asks the workers, not the IOC, and shows the last counts of those that do not run. Exit code 0 if all is good, else 1.
    """
    with ExitStack() as stack:
        systems = [stack.enter_context(system) for system in _systems(config)]
        if not watch:
            with working("status: asking the workers"):
                _look_once(systems)
            _print(systems, as_json=as_json)
            sys.exit(any(system.verdict.word is not Word.GOOD for system in systems))
        try:
            _watch(systems, as_json=as_json)
        except KeyboardInterrupt:
            sys.exit(0)


def _systems(config: Path | None) -> list[System]:
    if config is not None:
        loaded = load_config(config)
        return [System(Runtime(loaded.detector.prefix), loaded)]
    found = [System(runtime) for runtime in running_systems()]
    if not found:
        raise HostError(
            f"{Runtime.all_folders()}: found no running system of this account, expected at least one; give the CONFIG of "
            "one that is down, or set XDG_RUNTIME_DIR as its service does"
        )
    return found


def _look_once(systems: list[System]) -> None:
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


def _watch(systems: list[System], *, as_json: bool) -> None:
    if as_json:
        while True:
            for system in systems:
                system.look(1.0 / len(systems))
            print(json.dumps([_tree(system) for system in systems]), flush=True)
    console = _console()
    if not console.is_terminal:
        while True:
            for system in systems:
                system.look(_PLAIN_EVERY_S / len(systems))
            console.print(_screen(systems), highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            for system in systems:
                system.look(_LOOK_S / len(systems))
            live.update(Group(_screen(systems), Text("Ctrl-C ends it", style="dim")), refresh=True)


def _print(systems: list[System], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([_tree(system) for system in systems], indent=1))
        return
    _console().print(_screen(systems), highlight=False)


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    return console


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
        "workers": {
            view.name: {
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
