"""``python -m ioc`` is the command ``pebbledaq``."""

from ioc.cli import main

main()
