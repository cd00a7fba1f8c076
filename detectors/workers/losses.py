"""Which counters say that data is lost, in words: the same for the terminal and for the page. Pure."""

from collections.abc import Mapping
from typing import Any, Final

LOSSES: Final[Mapping[str, str]] = {
    "packets.lost": "packets lost",
    "frames.exhausted": "frames found no slot",
    "frames.abandoned": "frames abandoned",
    "frames.outages": "times without data, of unknown loss",
    "updates.missed": "images never seen",
    "updates.exhausted": "updates found no slot",
    "updates.expired": "updates met no event",
    "updates.decode_errors": "updates not decoded",
    "updates.timed_out": "events without an update",
    "updates.l1_exhausted": "events found no slot",
    "updates.l1_missed": "events never seen",
    "updates.truncated": "events truncated",
    "sync.losses": "times out of step",
    "images.overwritten": "images overwritten before they were read",
    "disk.dropped": "frames not written",
    "disk.lost_on_disk": "records lost on disk",
    "full.dropped": "images dropped from the full stream",
    "output.dropped": "images not written to HDF5",
}
"""Counters of what is lost for good, each where it is lost."""

CAUSES: Final[Mapping[str, str]] = {
    "dma.overruns": "the DMA ring was full",
    "packets.kernel_dropped": "the kernel dropped packets: the socket buffer was full",
    "frames.empty": "whole frames did not come",
    "pebble.exhausted": "the pebble was full",
    "transition.exhausted": "the transition pool was full",
    "pool.exhausted": "the pool of images was full",
}
"""Counters that explain losses, which are counted above."""

LIVE_LOSSES: Final[Mapping[str, str]] = {
    "zmq.dropped": "frames dropped for a slow subscriber",
    "reduced.dropped": "images dropped for a slow subscriber",
    "compressed.dropped": "images not compressed, the processors were busy",
    "pulse.dropped": "pulse ids dropped for a slow subscriber",
    "processing.dropped": "images not processed, all processes were busy",
    "processing.failed": "images on which the function failed",
    "processing.lost": "images lost with the process of the function",
    "processing.totals_begun": "totals lost with their process",
    "results.dropped": "results dropped for a slow subscriber",
}
"""Counters of what live streams may drop."""

_VIEWERS: Final = "images", "web"
"""Kinds of workers that only show the newest image: those that they pass over are not lost."""


def losses_of(values: Mapping[str, Any]) -> list[str]:
    """Return which counters of ``LOSSES`` a worker has, by its snapshot with dotted names."""
    return [] if values.get("kind") in _VIEWERS else [name for name in LOSSES if name in values]
