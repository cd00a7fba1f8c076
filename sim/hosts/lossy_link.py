"""A network link with delay and loss: a process that carries Ethernet frames between two TAP devices.

``python -m sim.hosts.lossy_link NEAR FAR DELAY_S LOSS SEED`` makes both devices in its network namespace and says READY.
Each may be moved to another namespace then. A line of its input asks for what was carried and lost; it ends with its input.
"""

import fcntl
import json
import os
import selectors
import struct
import sys
import time
from typing import TextIO

from sim.hosts.delay_line import DelayLine

_TUNSETIFF = 0x400454CA
_IFF_TAP_NO_PI = 0x0002 | 0x1000
_LONGEST = 65536
"""Bytes of the longest Ethernet frame that a TAP device gives."""


def open_tap(name: str) -> int:
    """Make a TAP device, and return its descriptor: one read or write is one Ethernet frame."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP_NO_PI))
    return tap


class Direction:
    """One direction of the link."""

    def __init__(self, source: int, sink: int, line: DelayLine) -> None:
        self.source = source
        self.sink = sink
        self.line = line
        self.carried = 0

    def take(self) -> None:
        """Take in all that the source has."""
        while True:
            try:
                frame = os.read(self.source, _LONGEST)
            except BlockingIOError:
                return
            self.line.put(frame, time.monotonic())

    def give(self) -> None:
        """Hand over what has arrived. A device that is down, or gone, takes nothing."""
        for frame in self.line.due(time.monotonic()):
            try:
                os.write(self.sink, frame)
            except OSError:
                self.line.dropped += 1
            else:
                self.carried += 1

    def counts(self) -> dict[str, int]:
        """Return how many frames it has carried and lost."""
        return {"carried": self.carried, "lost": self.line.lost, "dropped": self.line.dropped}


def carry(directions: dict[str, Direction], commands: TextIO) -> None:
    """Carry frames, and answer each line of ``commands``, until those end."""
    with selectors.DefaultSelector() as selector:
        selector.register(commands, selectors.EVENT_READ)
        for direction in directions.values():
            selector.register(direction.source, selectors.EVENT_READ, direction)
        while True:
            waits = [w for d in directions.values() if (w := d.line.wait_s(time.monotonic())) is not None]
            for key, _ in selector.select(min(waits, default=None)):
                if key.data is not None:
                    key.data.take()
                elif commands.readline():
                    print(json.dumps({name: way.counts() for name, way in directions.items()}), flush=True)  # noqa: T201
                else:
                    return
            for direction in directions.values():
                direction.give()


def main() -> None:
    """Carry frames until the input ends."""
    near, far = open_tap(sys.argv[1]), open_tap(sys.argv[2])
    delay_s, loss, seed = float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
    print("READY", flush=True)  # noqa: T201
    ways = {
        "to_far": Direction(near, far, DelayLine(delay_s, loss, seed=seed)),
        "to_near": Direction(far, near, DelayLine(delay_s, loss, seed=seed + 1)),
    }
    carry(ways, sys.stdin)


if __name__ == "__main__":
    main()
