"""Arguments and options that several commands have: each has one name, one type and one meaning everywhere."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from detectors.errors import ConfigError
from detectors.run_state import RunState
from ioc.cli import complete

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]

LAST_PULSE: Final = (1 << 63) - 1
"""Of ``detectors.buffer.layout``, which needs numpy."""


class _Pulse(click.ParamType[Any]):
    """A pulse_id."""

    name = "pulse"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if not str(value).isdecimal() or int(value) > LAST_PULSE:
            self.fail(f"found {str(value)!r}, expected a pulse_id, from 0 to {LAST_PULSE}", param, ctx)
        return int(value)


class _Completed(click.Path):
    """A path that shells complete to what is ``wanted``, by way of folders that may hold some."""

    def __init__(self, wanted: Callable[[Path], bool]) -> None:
        super().__init__(path_type=Path)
        self._wanted = wanted

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Return what begins like ``incomplete``."""
        return complete.paths(incomplete, self._wanted)


def _is_config(path: Path) -> bool:
    return path.suffix == ".toml"


def _is_detector(path: Path) -> bool:
    return (path / "detector.json").exists()


def _is_data_set(path: Path) -> bool:
    return _is_detector(path) or (path.suffix == ".json" and path.stem not in {"detector", "module"})


_PULSE: Final = _Pulse()
CONFIG: Final = _Completed(_is_config)

config: Final = click.argument("config", type=CONFIG)
"""CONFIG, a TOML file."""

folder: Final = click.argument("folder", type=_Completed(_is_data_set))
"""FOLDER, that of a detector in the binary buffer, or the map of a data set."""

folder_or_config: Final = click.argument(
    "folder", metavar="FOLDER|CONFIG", type=_Completed(lambda path: _is_config(path) or _is_detector(path))
)
"""FOLDER as above, or CONFIG."""

pulse: Final = click.argument("pulse", type=_PULSE)
"""PULSE, a pulse_id."""

module: Final = click.option(
    "--module",
    metavar="NAME",
    shell_complete=complete.modules_of_folder,
    help="Only this module; left out: all.",
)

as_json: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

first_pulse: Final = click.option(
    "--start", metavar="PULSE", type=_PULSE, default=1, show_default=True, help="First pulse."
)
"""``--start`` of what makes pulses."""

step: Final = click.option(
    "--step",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Every N-th pulse, counted from the first.",
)


def source(name: str, kind: str) -> Decorator[Any]:
    """Return the argument that names one of the workers of CONFIG whose names begin with ``kind``, ``udp`` say."""
    return click.argument(name, required=False, shell_complete=complete.workers_of_config(kind))


def run_state(text: str) -> Decorator[Any]:
    """``--state``: a run state, by the name that commands give it."""
    states = click.Choice([state.name.lower() for state in RunState])
    return click.option("--state", type=states, default="enabled", show_default=True, help=text)


def output(text: str, *, folder: bool = False, required: bool = False, default: Path | None = None) -> Decorator[Any]:
    """``-o`` and ``--output``: the file, or the folder, to write."""
    more: dict[str, Any] = {} if default is None else {"default": default, "show_default": True}
    return click.option(
        "-o",
        "--output",
        metavar="DIRECTORY" if folder else "FILE",
        type=click.Path(path_type=Path, file_okay=not folder, dir_okay=folder),
        required=required,
        help=text,
        **more,
    )


def cluster(default: str) -> Decorator[Any]:
    """``--scheduler`` and ``--workers``, one of them at most; ``default`` says what is done without both."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def checked(*, scheduler: str | None, workers: int | None, **rest: Any) -> Any:
            if scheduler is not None and workers is not None:
                raise ConfigError("--workers: found --scheduler too, whose workers are there already; give one of them")
            return function(scheduler=scheduler, workers=workers, **rest)

        count = click.option(
            "--workers",
            metavar="N",
            type=click.IntRange(min=1),
            help=f"Work in N processes of this machine; left out: {default}.",
        )
        address = click.option("--scheduler", metavar="ADDRESS", help="Work on the workers of this Dask scheduler.")
        return address(count(checked))  # type: ignore[return-value]

    return decorate


def rate(of: str, default: float = 100.0) -> Decorator[Any]:
    """``--rate``: how many a second."""
    return click.option(
        "--rate", "rate_hz", metavar="HZ", type=click.FloatRange(min=0), default=default, show_default=True, help=of
    )


def pulse_range(function: Function) -> Function:
    """``--start`` and ``--stop``, both included, each None when it is left out."""

    @functools.wraps(function)
    def checked(*, start: int | None, stop: int | None, **rest: Any) -> Any:
        if start is not None and stop is not None and start > stop:
            raise ConfigError(f"--stop: found {stop}, expected {start} (--start) or a later pulse")
        return function(start=start, stop=stop, **rest)

    stop_option = click.option(
        "--stop", metavar="PULSE", type=_PULSE, help="Last pulse, included; left out: the last recorded."
    )
    start_option = click.option(
        "--start", metavar="PULSE", type=_PULSE, help="First pulse; left out: the first recorded."
    )
    return start_option(stop_option(checked))  # type: ignore[return-value]
