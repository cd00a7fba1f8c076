"""A detector of many modules in one process: ``python -m sim.hosts.wide_detector HOST:PORT...``, commanded over its input.

``send`` begins to send frames of all modules, and ``sent`` waits for their end and tells how many packets each has sent, in order.
"""

import sys
import threading
from collections.abc import Sequence
from typing import Any

from detectors.geometry import ModuleGeometry
from sim.clock import Schedule, Stop, events
from sim.console import serve
from sim.hosts.wide import GEOMETRY
from sim.udp_module import UdpModuleSender


class WideDetector:
    """Its modules send to ``addresses``, number 0 to the first."""

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        self._addresses = addresses
        self._geometry = ModuleGeometry("wide", **GEOMETRY)
        self._senders: list[UdpModuleSender] = []
        self._thread = threading.Thread()

    def send(self, frames: int, rate_hz: float, first_pulse: int) -> None:
        """Send so many frames of each module, the first with this pulse_id; frames and pulses count on together."""
        schedule = Schedule.at_rate(rate_hz, first_pulse=first_pulse)
        self._senders = [
            UdpModuleSender(address, self._geometry, schedule, module_id=number, first_frame=first_pulse)
            for number, address in enumerate(self._addresses)
        ]
        self._thread = threading.Thread(target=self._run, args=(schedule, frames))
        self._thread.start()

    def sent(self) -> dict[str, Any]:
        """Return how many frames and packets each module has sent, when the last has gone."""
        self._thread.join()
        return {"modules": [{"frames": s.report.frames, "packets": s.report.packets} for s in self._senders]}

    def _run(self, schedule: Schedule, frames: int) -> None:
        with Stop() as stop:
            for n in events(schedule, stop, count=frames):
                for sender in self._senders:
                    sender.send_frame(n)
        for sender in self._senders:
            sender.close()


if __name__ == "__main__":
    parts = [word.rpartition(":") for word in sys.argv[1:]]
    detector = WideDetector([(host, int(port)) for host, _, port in parts])
    serve({"send": detector.send, "sent": detector.sent})
