"""Simulated modules that send in step: all are up before the first packet of any."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from ioc.demo.children import Child

START_S = 60.0
LEAD_S = 0.3
"""From the line that starts them to their first packet: all of them have read it by then."""

PATIENT: Final = "flush_timeout_s = 2\n"
"""For the table of a module: a busy machine may stop a simulated detector for a while in the middle of a frame."""


@contextmanager
def sending(ports: Sequence[int], *options: str) -> Iterator[list[Child]]:
    """Let modules send by ``sim udp``, each to its port; they end with the context."""
    children = [
        Child(f"module {m}", ["sim", "udp", str(port), "--module-id", str(m), "--epoch-ns", "-", *options], os.environ)
        for m, port in enumerate(ports)
    ]
    try:
        deadline_s = time.monotonic() + START_S
        for child in children:
            child.wait_ready(deadline_s)
        epoch_ns = time.time_ns() + round(LEAD_S * 1e9)
        for child in children:
            child.write_line(str(epoch_ns))
        yield children
    finally:
        for child in children:
            child.ask_to_end()
        for child in children:
            child.end()


def send_frames(ports: Sequence[int], frames: int, *options: str) -> None:
    """Let modules send so many frames, and wait until they have."""
    with sending(ports, "--frames", str(frames), *options) as children:
        assert [child.wait(START_S) for child in children] == [0] * len(ports)
