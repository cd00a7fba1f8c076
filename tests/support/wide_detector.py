"""A detector of many modules in one process: ``python -m tests.support.wide_detector CONFIG``, commanded over its input.

``send`` begins to send frames of all modules, and ``sent`` waits for their end and tells how many packets each module has sent.
"""

import sys
import threading
from pathlib import Path
from typing import Any

from detectors.config import load_config
from sim.clock import Schedule, Stop, events
from sim.udp_module import UdpModuleSender
from tests.support.child import serve


class WideDetector:
    def __init__(self, path: Path) -> None:
        self._modules = load_config(path).udp
        self._senders: list[UdpModuleSender] = []
        self._thread = threading.Thread()

    def send(self, frames: int, rate_hz: float, first_pulse: int) -> None:
        """Send so many frames of each module, the first with this pulse_id; frames and pulses count on together."""
        schedule = Schedule.at_rate(rate_hz, first_pulse=first_pulse)
        self._senders = [
            UdpModuleSender(
                (module.address, module.port),
                module.geometry,
                schedule,
                module_id=module.expect_module_id or 0,
                number=number,
                first_frame=first_pulse,
            )
            for number, module in enumerate(self._modules)
        ]
        self._thread = threading.Thread(target=self._run, args=(schedule, frames))
        self._thread.start()

    def sent(self) -> dict[str, Any]:
        self._thread.join()
        reports = {module.name: s.report for module, s in zip(self._modules, self._senders, strict=True)}
        return {name: {"frames": r.frames, "packets": r.packets} for name, r in reports.items()}

    def _run(self, schedule: Schedule, frames: int) -> None:
        with Stop() as stop:
            for n in events(schedule, stop, count=frames):
                for sender in self._senders:
                    sender.send_frame(n)
        for sender in self._senders:
            sender.close()


if __name__ == "__main__":
    detector = WideDetector(Path(sys.argv[1]))
    serve({"send": detector.send, "sent": detector.sent})
