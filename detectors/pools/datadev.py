"""The receive ring of a PGP card, as its driver reports it in ``/proc/datadev_N``; most hosts have no card.

Source: ``Dma_SeqShow`` of aes-stream-drivers. The heading of the section has changed between versions, its lines have not::

    ---- Read Buffers (Firmware->Software) ----
             Buffer Count : 1024
              Buffer Size : 131072
"""

import re
from dataclasses import dataclass
from pathlib import Path

_HEADING = re.compile(r"^[ \t]*-+[ \t]*([^-\n].*?)[ \t]*-+[ \t]*$", re.MULTILINE)
_NUMBER = re.compile(r"^\s*(Buffer Count|Buffer Size)\s*:\s*(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DriverRing:
    """``count`` receive buffers of ``size`` bytes: what the driver was loaded with as cfgRxCount and cfgSize."""

    path: str
    count: int
    size: int


def parse_datadev(text: str, path: str) -> DriverRing | None:
    """Return the receive ring in the driver's text; None when it is missing there, or empty."""
    _, *parts = _HEADING.split(text)
    body = "".join(
        body for title, body in zip(parts[::2], parts[1::2], strict=True) if title.startswith("Read Buffers")
    )
    found = dict(_NUMBER.findall(body))
    count, size = int(found.get("Buffer Count", 0)), int(found.get("Buffer Size", 0))
    return DriverRing(path, count, size) if count and size else None


def read_datadev(proc: Path = Path("/proc")) -> DriverRing | None:
    """Return the receive ring of the first card; None when there is none."""
    for path in sorted(proc.glob("datadev_*")):
        try:
            ring = parse_datadev(path.read_text(encoding="ascii", errors="replace"), str(path))
        except OSError:
            continue
        if ring:
            return ring
    return None
