"""Hosts for tests on one machine: each has an address of the loopback, and those of workers a runtime folder of their own."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from detectors.curve import make_keys
from tests.support.ports import free_hundred


def on_hosts(text: str, folder: Path, placed: Mapping[str, str], *, zmq: str = "") -> tuple[str, int]:
    """Return a configuration with the sources and outputs named in ``placed`` on hosts, and the port of its first module stream.

    Hosts are called h2, h3 and so on, after the last number of their addresses. ``zmq`` are more lines of its section.
    """
    keys, port = folder / "keys", free_hundred()
    if not keys.exists():
        make_keys(keys, "server")
    for what, host in placed.items():
        before = f"[{what}]\n" if f"[{what}]\n" in text else f'name = "{what}"\n'
        assert text.count(before) == 1, before
        text = text.replace(before, f'{before}host = "{host}"\n')
    hosts = "".join(
        f'[[host]]\nname = "{name}"\naddress = "127.0.0.{name[1:]}"\n' for name in sorted(set(placed.values()))
    )
    control = f'[control]\nport_base = {port}\ncurve_keys = "{keys}"\n'
    return f"{text}\n{hosts}{control}[zmq]\nport_base = {port + 50}\n{zmq}\n", port + 50


@contextmanager
def on_host(folder: Path) -> Iterator[None]:
    """Make and find workers of a host, whose runtime folder is below this one."""
    folder.mkdir(exist_ok=True)
    with patch.dict(os.environ, {"XDG_RUNTIME_DIR": str(folder)}):
        yield
