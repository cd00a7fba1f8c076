"""``pebbledaq monitor`` in a process of its own, and a timing system for it."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from detectors.run_state import Service
from detectors.runtime import Runtime
from detectors.stats import MonitorStatus, UpdateStats
from detectors.wire.timing import TimingEvent, encode_timing
from detectors.workers.control import request
from tests.support.waiting import until

PREFIX = "T:MONITOR:"
EPOCH_NS = 1_700_000_000 * 10**9


class MonitorProcess:
    """The worker of the source CAM."""

    def __init__(self, config: Path, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ioc", "monitor", str(config), *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = ""

    def ready(self) -> "MonitorProcess":
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("READY"), f"ended with {self.end()}: {self.log}"
        return self

    def ask(self, command: str, timeout_s: float = 5.0, **args: Any) -> Any:
        return request(Runtime(PREFIX).command("pva.CAM"), command, timeout_s, **args)

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def until(self, condition: Callable[[dict[str, Any]], Any], seconds: float = 10.0) -> dict[str, Any]:
        return until(self.status, condition, seconds)

    def enabled(self) -> dict[str, Any]:
        return self.until(lambda s: s["run_state"] == "Enabled")

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, self.log = self.process.communicate(timeout=10)
        return self.process.returncode


@contextmanager
def monitors(folder: Path) -> Iterator[Callable[..., MonitorProcess]]:
    """Give a function that starts monitors; nothing of them may be left in the end."""
    with ExitStack() as stack:

        def make(pv: str | list[str], source: str = "", *args: str, top: str = "", wait: bool = True) -> MonitorProcess:
            config = folder / "config.toml"
            config.write_text(
                f"""
                [detector]
                name = "DET"
                prefix = "{PREFIX}"
                {top}
                [dma]
                cfgRxCount = 15
                cfgSize = "64 KiB"
                [[pva]]
                name = "CAM"
                pv = {json.dumps(pv)}
                {source}
                [disk]
                folder = "{folder}/data"
                min_free = 1
                """
            )
            monitor = MonitorProcess(config, *args)
            stack.callback(monitor.end, signal.SIGKILL)
            return monitor.ready() if wait else monitor

        yield make
    runtime = Runtime(PREFIX)
    assert not runtime.shm("pva.CAM").exists()
    assert not runtime.folder.exists()


class TimingLine:
    """Sends timing events to a port of this host. Context manager."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sent = 0

    def tell(self, service: Service, pulse_id: int = 0, nanoseconds: int = 0) -> None:
        """Send one event; its time stamp is ``nanoseconds`` after EPOCH_NS."""
        self._sent += 1
        self._socket.sendto(
            encode_timing(TimingEvent(service, pulse_id, EPOCH_NS + nanoseconds, self._sent)), self._address
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def settled(status: dict[str, Any]) -> None:
    """Assert the balance, as it is in the JSON."""
    u = UpdateStats(**status["updates"])
    fates = u.match + u.too_old + u.expired + u.discarded_disabled + u.exhausted + u.decode_errors + u.empty_updates
    assert u.updates == fates + u.held
    assert u.l1_accepts == u.placed + u.empty + u.timed_out + u.l1_exhausted + u.l1_refused + u.l1_pending
    for output in ("disk", "zmq"):
        o = status[output]
        assert o["offered"] == o["written"] + o["dropped"] + o["disabled"] + o["queued"] == u.placed
    assert set(status) == set(MonitorStatus.__dataclass_fields__)
