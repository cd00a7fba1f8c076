"""What a configuration needs of its host, each with the reason. Pure."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from detectors.config import Config
from detectors.pools.sizing import size_text
from detectors.workers.tuning import LOWEST_REALTIME
from ioc.plan import plan_source_by_source

OPEN_FILES: Final = 65_536
"""Data files, sockets of clients and of workers: far more than there will be."""

WATCHDOG_S: Final = 60
"""A process whose main thread said nothing for so long hangs, s; a Configure that makes large buffers takes seconds."""

START_S: Final = 180
"""Longest start, s: each worker touches all its memory first, so that no page is missing when data comes."""

_STOP_MARGIN_S: Final = 10
_SMALL_SHM: Final = 64 << 20
"""Shared memory for all but the pebbles, bytes: the newest images for viewers, say."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The figures of one configuration."""

    prefix: str
    detector: str
    receive_buffer: int
    """Largest DMA ring that a worker asks the kernel for, bytes."""
    receive_buffer_why: str
    shm_bytes: int
    """Shared memory of the pebbles whose size is known, and some for the rest."""
    shm_why: str
    realtime: int
    """Highest real-time priority of a receiver; 0: none is wanted."""
    stop_s: int
    """After so long, what has not ended is killed, s."""
    folders: tuple[Path, ...]
    """Folders that data is written to."""

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return what a configuration needs. Raises ConfigError when its buffers cannot be made."""
        plans = plan_source_by_source(config)
        rings = {source.name: config.dma_of(source) for source in (*config.udp, *(config.pva if config.timing else ()))}
        largest = max(rings, key=lambda name: rings[name].cfg_rx_count * int(rings[name].cfg_size), default="")
        ring = rings.get(largest)
        pebbles = {name: plan.pebble.total_bytes or 0 for name, plan in plans.items()}
        priorities = [s.tuning.realtime_priority for s in (*config.udp, *config.pva)]
        folders = [section.folder for section in (config.disk, config.hdf5) if section]
        roots = [root for section in (config.disk, config.hdf5) if section for root in section.roots]
        unknown = [name for name, nbytes in pebbles.items() if not nbytes]
        why = " + ".join(f"{name} {size_text(nbytes)}" for name, nbytes in pebbles.items() if nbytes)
        return cls(
            prefix=config.detector.prefix,
            detector=config.detector.name,
            receive_buffer=ring.cfg_rx_count * int(ring.cfg_size) if ring else 0,
            receive_buffer_why=f"{largest} asks for cfgRxCount {ring.cfg_rx_count} x cfgSize {size_text(int(ring.cfg_size))}"
            if ring
            else "",
            shm_bytes=sum(pebbles.values()) + _SMALL_SHM,
            shm_why=why + (f"; of {', '.join(unknown)} the PV says it: add theirs" if unknown else ""),
            realtime=max(LOWEST_REALTIME if wanted is None else wanted for wanted in priorities),
            stop_s=round(config.run.drain_s) + _STOP_MARGIN_S,
            folders=tuple(dict.fromkeys((*folders, *roots))),
        )

    @property
    def slug(self) -> str:
        """The prefix as a part of file names."""
        return re.sub(r"[^A-Za-z0-9]+", "-", self.prefix).strip("-")

    def sysctl(self) -> str:
        """Return a file for ``/etc/sysctl.d``."""
        return f"""\
# For pebbledaq {self.prefix.rstrip(":")}: {self.receive_buffer_why}.
# The kernel grants no larger socket buffer than this, and packets that find no room in theirs are lost.
# Of several such files the last by name wins: keep the largest value.
net.core.rmem_max = {self.receive_buffer}
"""
