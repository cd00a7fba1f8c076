"""``pebbledaq monitor`` in a process of its own, and a timing system for it."""

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from detectors.run_state import Service
from detectors.runtime_names import RuntimeNames
from detectors.stats import MonitorStatus, UpdateStats
from detectors.wire.timing import TimingEvent, encode_timing
from tests.support.process import WorkerProcess

PREFIX = "T:MONITOR:"
EPOCH_NS = 1_700_000_000 * 10**9


class MonitorProcess(WorkerProcess):
    """The worker of the source CAM."""

    def __init__(self, config: Path, *args: str) -> None:
        super().__init__(PREFIX, "pva.CAM", "monitor", str(config), *args)

    def enabled(self) -> dict[str, Any]:
        return self.until(lambda s: s["run_state"] == "Enabled")


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
    runtime = RuntimeNames(PREFIX)
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
