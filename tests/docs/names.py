"""Names of the machine on a page, and those that stand for them while the page is tested."""

import random
import re
import socket
import string
from contextlib import ExitStack
from pathlib import Path
from typing import Self

_BLOCK = 100
"""Ports are replaced by the hundred, since some follow from others: ``port_base``, ``replay --udp``."""

_PORT = re.compile(
    r"(?<![\w.])(?P<before>(?:[\d.]+|localhost|\*):|port = |port_base = |port=|--port |sim udp )(?P<port>\d{4,5})\b"
)
_PREFIX = re.compile(r'^prefix = "([A-Z0-9]+)', re.MULTILINE)


class Names:
    """Context manager, which holds the ports that it gives. ``ours`` replaces, ``theirs`` puts back."""

    def __init__(self, folder: Path, texts: list[str]) -> None:
        self._folder = str(folder)
        self._held = ExitStack()
        self._ports: dict[int, int] = {}
        found = sorted({prefix for text in texts for prefix in _PREFIX.findall(text)})
        self._prefixes = {p: "".join(random.choices(string.ascii_uppercase, k=max(len(p), 4))) for p in found}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def ours(self, text: str) -> str:
        text = _PORT.sub(lambda m: m["before"] + str(self._port(int(m["port"]))), text)
        text = re.sub(r"(?<![\w/])/tmp(?=/)", self._folder, text)
        for theirs, ours in self._prefixes.items():
            text = re.sub(rf"\b{theirs}(?=:)", ours, text)
        return text

    def theirs(self, text: str) -> str:
        for theirs, ours in self._prefixes.items():
            text = text.replace(ours, theirs)
        text = text.replace(self._folder, "/tmp")
        back = {base: block for block, base in self._ports.items()}
        return re.sub(r"\b\d{5}\b", lambda m: _put_back(int(m[0]), back), text)

    def _port(self, port: int) -> int:
        block = port // _BLOCK
        if block not in self._ports:
            self._ports[block] = self._free_block()
        return self._ports[block] + port % _BLOCK

    def _free_block(self) -> int:
        """The first port of a hundred that nobody uses. The last one is held, which keeps it from others that look."""
        for base in random.sample(range(10_000, 32_000, _BLOCK), 100):  # the kernel gives ports from 32768 on
            with ExitStack() as tried:
                try:
                    for port in range(base, base + _BLOCK - 1):
                        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                            with socket.socket(socket.AF_INET, kind) as probe:
                                probe.bind(("127.0.0.1", port))
                    held = tried.enter_context(socket.socket())
                    held.bind(("127.0.0.1", base + _BLOCK - 1))
                except OSError:
                    continue
                self._held.push(tried.pop_all())
                return base
        raise AssertionError("found no hundred free ports in a row from 10000 to 32000")


def _put_back(port: int, back: dict[int, int]) -> str:
    base = port - port % _BLOCK
    return str(back[base] * _BLOCK + port % _BLOCK) if base in back else str(port)
