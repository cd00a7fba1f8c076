"""The PGP card's driver, as it shows itself in ``/proc/datadev_N``: count and size of its receive buffers.

Source: aes-stream-drivers, ``Dma_SeqShow``. A host without such a card is the normal case.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")

_SECTION = re.compile(r"^-+\s*(?P<name>.*?)\s*-+\s*$")
_FIELD = re.compile(r"^\s*(?P<name>[^:]+?)\s*:\s*(?P<value>\d{1,18})\s*$")


@dataclass(frozen=True, slots=True)
class ReceiveBuffers:
    """The receive ring of one card: ``cfgRxCount`` buffers of ``cfgSize`` bytes."""

    device: str
    count: int
    size_bytes: int

    @property
    def total_bytes(self) -> int:
        """All buffers."""
        return self.count * self.size_bytes


def parse_datadev(text: str, device: str) -> ReceiveBuffers | None:
    """Return what the section of receive buffers says; None when the text has none, or says it otherwise."""
    values: dict[str, int] = {}
    section = ""
    for line in text.splitlines():
        if header := _SECTION.match(line):
            section = header["name"].lower()
        elif section.startswith("read buffers") and (field := _FIELD.match(line)):
            values[field["name"].lower()] = int(field["value"])
    count, size = values.get("buffer count"), values.get("buffer size")
    return ReceiveBuffers(device, count, size) if count and size else None


def read_datadev(folder: Path = PROC) -> Iterator[ReceiveBuffers]:
    """Yield the receive rings of all cards of this host, in the order of their names."""
    for path in sorted(folder.glob("datadev_*")):
        try:
            text = path.read_text(encoding="ascii", errors="replace")
        except OSError:  # a card that is being reset cannot be asked
            continue
        if (found := parse_datadev(text, path.name)) is not None:
            yield found
