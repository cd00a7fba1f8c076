"""A detector whose modules are played, not received: what reads their memory and their notifications sees no difference."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import psutil
import zmq

from detectors.frame import FrameHead, RecordShape
from detectors.pools.pebble import Pebble
from detectors.pools.segment import least_slot_bytes
from detectors.runtime_names import COUNTERS_VARIABLE, RuntimeNames

FRAME_BYTES = 2 * 512 * 1024
SLOTS = 128
PREFIX = "BENCH:"
REST_S = 0.01
"""Between two looks of the receiver of a JUNGFRAU module at 1000 frames/s, s (``detectors.sources.pace``)."""


class Player:
    """Modules that finish a frame each at a steady rate, and the processes that read them: all in a folder of their own.

    ``sections`` complete the configuration; ``{folder}`` in them is the folder. Every frame has ``pixels`` (uint16[512, 1024]), or what
    lies in its slot.
    """

    def __init__(self, modules: int, sections: str = "", *, pixels: np.ndarray | None = None) -> None:
        self.modules = modules
        self._folder = tempfile.TemporaryDirectory(prefix="pd", dir="/tmp")
        self.folder = Path(self._folder.name)
        os.environ["XDG_RUNTIME_DIR"] = os.environ[COUNTERS_VARIABLE] = self._folder.name
        self.runtime = RuntimeNames(PREFIX)
        self.runtime.make_folder()
        self.config = self.folder / "config.toml"
        tables = "".join(
            f'[[udp]]\nname = "M{m:02}"\nexpect_module_id = {m}\nport = {50020 + m}\n' for m in range(modules)
        )
        self.config.write_text(
            f'[detector]\nname = "JF"\nprefix = "{PREFIX}"\n{tables}{sections.format(folder=self.folder)}'
        )
        shape = RecordShape(FRAME_BYTES)
        info = {"dtype": "uint16", "shape": [512, 1024]}
        self._next = 0
        self._context = zmq.Context()
        self._pebbles: list[Pebble] = []
        self._sockets: list[zmq.Socket[bytes]] = []
        self._children: list[subprocess.Popen[str]] = []
        for m in range(modules):
            name = f"udp.M{m:02}"
            slot_bytes = least_slot_bytes(shape)
            pebble = Pebble(self.runtime.shm(name), shape, count=SLOTS, slot_bytes=slot_bytes, info=info)
            self._pebbles.append(pebble)
            for pulse_id in range(SLOTS if pixels is not None else 0):
                with pebble.claim(pulse_id) as loan:
                    loan.data[:] = pixels.reshape(-1).view(np.uint8)
            socket = self._context.socket(zmq.PUB)
            socket.bind(self.runtime.notify(name))
            self._sockets.append(socket)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a Python process, and wait for its first line."""
        child = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._children.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return child

    def play(self, rate_hz: float, seconds: float) -> int:
        """Let every module finish frames, and return how many each has finished.

        Those of fast modules are finished some at a time, as our receiver does, which rests while their packets come.
        """
        start, count, done = time.monotonic(), int(rate_hz * seconds), 0
        while done < count:
            due = min(count, 1 + int((time.monotonic() - start) * rate_hz))
            for _ in range(done, due):
                self._finish()
            done = due
            time.sleep(max(REST_S, start + done / rate_hz - time.monotonic()))
        return count

    def _finish(self) -> None:
        pulse_id = self._next
        self._next += 1
        for m, (pebble, socket) in enumerate(zip(self._pebbles, self._sockets, strict=True)):
            head = FrameHead(pulse_id, pulse_id, 0, 128, m, expected_packets=128)
            pebble.claim(pulse_id).publish(head)
            socket.send(pulse_id.to_bytes(8, "little"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children):
            child.terminate()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                assert pipe is not None
                pipe.close()
        for pebble in self._pebbles:
            pebble.close()
        self._context.destroy(linger=0)
        self._folder.cleanup()


def cpu_s(child: subprocess.Popen[str]) -> float:
    """Return the processor time that a process has used, s."""
    times = psutil.Process(child.pid).cpu_times()
    return times.user + times.system
