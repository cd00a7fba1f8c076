"""The snapshot of a receiver: taken by its data thread, so that every counter in it is of the same moment."""

import os
import time
from collections import deque
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from detectors.assembly.frames import FrameAssembler
from detectors.outputs.outputs import Outputs
from detectors.pools.pebble import Pebble
from detectors.run_state import RunState
from detectors.sources.udp import UdpSource
from detectors.stats import PacketStats, Rates, ReceiverStatus

STALLED_S: Final = 1.0
"""Silence after which a module that sent before is stalled, s."""

STALLED_PERIODS: Final = 5
"""The same in frame periods, for a module slower than that."""

_RATE_SAMPLES: Final = 11
"""Snapshots over which rates are averaged: a second's worth."""


class RateMeter:
    """Averages over the last snapshots."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int, int]] = deque(maxlen=_RATE_SAMPLES)

    def add(self, now: float, frames: int, packets: int, nbytes: int) -> Rates:
        """Take the counts so far, and return the rates since the oldest sample."""
        self._samples.append((now, frames, packets, nbytes))
        then, *old = self._samples[0]
        seconds = now - then
        if seconds <= 0:
            return Rates()
        new = (frames, packets, nbytes)
        return Rates(*(round((b - a) / seconds, 3) for a, b in zip(old, new, strict=True)))


@dataclass(frozen=True, slots=True)
class ReceiverParts:
    """What a receiver is made of."""

    worker: str
    source: UdpSource
    assembler: FrameAssembler
    pebble: Pebble
    outputs: Outputs
    packet_data_bytes: int


class StatusTaker:
    """Takes snapshots of a receiver's parts."""

    def __init__(self, parts: ReceiverParts) -> None:
        self._parts = parts
        self._rates = RateMeter()
        self._version = metadata.version("pebbledaq")

    def take(self, now: float, run_state: RunState, final: str = "") -> ReceiverStatus:
        """Return the snapshot of this moment. ``now``: monotonic, s. ``final`` is the state of a receiver that ends."""
        parts, assembler = self._parts, self._parts.assembler
        dma = parts.source.ring.stats()
        outputs = parts.outputs.stats()
        packets, frames = assembler.packets(dma.overruns), assembler.frames()
        return ReceiverStatus(
            worker=parts.worker,
            pid=os.getpid(),
            time_ns=time.time_ns(),
            version=self._version,
            state=final or self._state(now, run_state, packets),
            message=parts.source.ring.shortfall() or assembler.latest_note,
            run_state=run_state.label,
            pulse_id=assembler.latest.pulse_id,
            frame_index=assembler.latest.frame_index,
            packets=packets,
            frames=frames,
            rates=self._rates.add(
                now,
                frames.complete + frames.incomplete,
                packets.received,
                (packets.placed + packets.bad_pulse) * parts.packet_data_bytes,
            ),
            dma=dma,
            pebble=parts.pebble.stats(),
            disk=outputs["disk"],
            zmq=outputs["zmq"],
            senders=parts.source.senders,
        )

    def _state(self, now: float, run_state: RunState, packets: PacketStats) -> str:
        assembler = self._parts.assembler
        if run_state is not RunState.ENABLED or not assembler.heard_in_run or not packets.received:
            return "Idle"
        quiet = now - assembler.heard_at
        return "Stalled" if quiet > max(STALLED_S, STALLED_PERIODS * assembler.period_s) else "Receiving"
