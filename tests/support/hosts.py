"""Hosts for tests on one machine: each has an address of the loopback, and those of workers a runtime folder of their own."""

from collections.abc import Mapping
from pathlib import Path

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
