"""Names of the machine on a page, and those that stand for them while the page is tested."""

import random
import re
import string
from pathlib import Path

from tests.support.ports import free_hundred

_BLOCK = 100
"""Ports are replaced by the hundred, since some follow from others: ``port_base``, ``replay --udp``."""

_PORT = re.compile(
    r"(?<![\w.])(?P<before>(?:[\d.]+|localhost|\*):|port = |(?:part_)?port_base = |port=|--port |sim udp )(?P<port>\d{4,5})\b"
)
_PREFIX = re.compile(r'^prefix = "([A-Z0-9]+)', re.MULTILINE)


class Names:
    """What stands for the names of a page: ``ours`` replaces, ``theirs`` puts back."""

    def __init__(self, folder: Path, texts: list[str]) -> None:
        self._folder = str(folder)
        self._ports: dict[int, int] = {}
        found = sorted({prefix for text in texts for prefix in _PREFIX.findall(text)})
        self._prefixes = {p: "".join(random.choices(string.ascii_uppercase, k=max(len(p), 4))) for p in found}

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
            self._ports[block] = free_hundred()
        return self._ports[block] + port % _BLOCK


def _put_back(port: int, back: dict[int, int]) -> str:
    base = port - port % _BLOCK
    return str(back[base] * _BLOCK + port % _BLOCK) if base in back else str(port)
