"""Ports that a run of the tests has for itself, also while another run is under way on the same host."""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import cycle, islice
from pathlib import Path

_FIRST, _LAST = 10000, 32000
"""Below what the kernel gives to clients (net.ipv4.ip_local_port_range, from 32768): no connection takes one of them."""
_BLOCK = 1000


def free_ports(count: int) -> list[int]:
    """Ports that are free for TCP and for UDP. They are of the block of this process: no other run of tests has them."""
    ports: list[int] = []
    while len(ports) < count:
        port = next(_ports())
        if _free(port):
            ports.append(port)
    return ports


def free_hundred() -> int:
    """The first of a hundred such ports in a row; it is a multiple of 100."""
    while True:
        first = next(_ports())
        if first % 100 == 0 and all([_free(first), *(_free(port) for port in islice(_ports(), 99))]):
            return first


@contextmanager
def taken_udp_port() -> Iterator[int]:
    """A port of the loopback that a socket is bound to meanwhile."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@cache
def _ports() -> Iterator[int]:
    """The ports of the first block that no other process holds, over and over. The lock is held until this process ends."""
    folder = Path(tempfile.gettempdir()) / f"pebbledaq-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for first in range(_FIRST, _LAST, _BLOCK):
        lock = os.open(folder / str(first), os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return cycle(range(first, first + _BLOCK))
    raise RuntimeError(
        f"{folder}: found no block of ports that is free, expected fewer than {(_LAST - _FIRST) // _BLOCK} runs of tests at once"
    )


def _free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
