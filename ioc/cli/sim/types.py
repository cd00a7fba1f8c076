"""What the options of simulated sources are made of."""

from typing import Any, Final

import click

PIXEL_TYPES: Final = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
"""Of ``detectors.pixels``, which needs numpy: the help does without."""


class AddressType(click.ParamType[Any]):
    """``host:port``, or a port of the local host."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return host and port."""
        host, _, port = str(value).rpartition(":")
        if not port.isdigit() or not 1 <= int(port) <= 65535:
            self.fail(f"found {value!r}, expected host:port or a port from 1 to 65535", param, ctx)
        return host or "127.0.0.1", int(port)


class Shape(click.ParamType[Any]):
    """``2048x1024``: slowest dimension first."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the dimensions."""
        parts = str(value).split("x")
        if not all(p.isdigit() and int(p) > 0 for p in parts):
            self.fail(f"found {value!r}, expected sizes like 2048x1024, slowest first", param, ctx)
        return tuple(int(p) for p in parts)


class Epoch(click.ParamType[Any]):
    """A POSIX time in ns, or ``-``."""

    name = "ns|-"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the time, or ``-``."""
        if value != "-" and not str(value).isdigit():
            self.fail(f"found {value!r}, expected a POSIX time in ns, or -", param, ctx)
        return value if value == "-" else int(value)
