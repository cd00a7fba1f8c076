"""A module's geometry as an argument."""

import tomllib
from typing import TYPE_CHECKING, Any

import click

from detectors.errors import ConfigError

if TYPE_CHECKING:
    from detectors.geometry import ModuleGeometry


class GeometryType(click.ParamType[Any]):
    """A geometry's name, or the table of one, as a configuration has it."""

    name = "name|{...}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "ModuleGeometry":
        """Return the geometry."""
        from detectors.geometry import GEOMETRIES, ModuleGeometry

        text = str(value)
        if text in GEOMETRIES:
            return GEOMETRIES[text]
        if not text.startswith("{"):
            self.fail(f"found {text!r}, expected one of {', '.join(GEOMETRIES)}, or a table in {{}}", param, ctx)
        try:
            table: dict[str, Any] = {"name": "custom"} | tomllib.loads(f"geometry = {text}")["geometry"]
            return ModuleGeometry(**table)
        except (tomllib.TOMLDecodeError, TypeError, ConfigError) as error:
            self.fail(f"found {text!r}: {error}", param, ctx)
