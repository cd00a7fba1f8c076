"""What the shell offers when Tab is pressed. What cannot be read offers nothing."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from detectors.errors import PebbleDaqError


def paths(incomplete: str, wanted: Callable[[Path], bool]) -> list[CompletionItem]:
    """Return the wanted paths that begin with ``incomplete``, and folders to look into; the shell completes folders alone."""
    start = incomplete.rpartition("/")[2]
    prefix = incomplete[: len(incomplete) - len(start)]
    found: list[str] = []
    folders: list[str] = []
    with suppress(OSError):
        for path in sorted(Path(prefix or ".").expanduser().iterdir()):
            if not path.name.startswith(start) or (path.name.startswith(".") and not start):
                continue
            if wanted(path):
                found.append(prefix + path.name)
            elif path.is_dir():
                folders.append(f"{prefix}{path.name}/")
    if not found:
        return [CompletionItem(incomplete, type="dir")] if folders else []
    return [CompletionItem(path) for path in (*found, *folders)]


def modules_of_folder(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Return the modules of FOLDER, if that is given."""
    # Behind an option that has no value yet click has not sorted the arguments.
    folders = [ctx.params["folder"]] if ctx.params.get("folder") else list(map(Path, ctx.args[:1]))
    from ioc.cli.buffers import find_detectors

    with suppress(PebbleDaqError):
        return _items(
            [name for folder in folders for one in find_detectors(folder) for name in one.modules],
            incomplete,
        )
    return []


def workers_of_config(
    kind: str,
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Return what offers the workers of CONFIG whose names begin with ``kind``: ``udp`` its modules."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
        config: Path | None = ctx.params.get("config")
        if config is None:
            return []
        from detectors.config import load_config
        from detectors.worker_names import workers

        with suppress(PebbleDaqError):
            names = [worker.partition(".") for worker in workers(load_config(config))]
            return _items([name for found, _, name in names if found == kind and name], incomplete)
        return []

    return complete


def _items(names: list[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(incomplete)]
