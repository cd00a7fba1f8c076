"""``pebbledaq preflight``: the older name of ``pebbledaq check``."""

from ioc.cli.check import command

__all__ = ["command"]
