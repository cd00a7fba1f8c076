"""What is known of a running system, without its IOC: snapshots that its workers publish, and the pages of those that ended."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import orjson
import zmq

from detectors.config import AlarmsSection, Config
from detectors.runtime import Runtime
from detectors.stats import flat
from detectors.worker_names import workers
from detectors.workers.account import read_totals
from detectors.workers.commands import MAX_MESSAGE_BYTES
from detectors.workers.lock import is_running, workers_seen
from ioc.glance.recent_losses import RecentLosses
from ioc.glance.verdict import Verdict, WorkerView, judge
from ioc.status import OWNER

SILENCE_S: Final = 2.5
"""A worker that sent no snapshot for so long does not respond, s; it sends one a second at least."""


class System:
    """One system, as seen from outside; context manager. With ``config`` it is known which workers are to run."""

    def __init__(self, runtime: Runtime, config: Config | None = None) -> None:
        self.prefix = runtime.prefix
        self.workers: list[WorkerView] = []
        """What was known at the last ``look``."""
        self.verdict = Verdict(judge(()).word, ())
        self.ioc_running = False
        self._runtime = runtime
        self._wanted = (
            {name: source is None or source.enabled for name, source in workers(config).items()} if config else {}
        )
        self._losses = RecentLosses((config.alarms if config else AlarmsSection()).window_s)
        self._heard: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._connected: set[str] = set()

    def __enter__(self) -> Self:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.linger = 0
        self._socket.maxmsgsize = MAX_MESSAGE_BYTES
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._began_s = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()
        self._context.term()

    @property
    def span_s(self) -> float:
        """Over how long losses are recent, s."""
        return self._losses.span_s

    @property
    def heard_all(self) -> bool:
        """Whether every worker that runs was heard, at the last ``look``."""
        return all(view.responding for view in self.workers if view.running)

    def look(self, wait_s: float) -> None:
        """Take what comes for so long, and see who runs."""
        names = self._names()
        for name in sorted(set(names) - self._connected):
            self._socket.connect(self._runtime.status(name))
            self._connected.add(name)
        end_s = time.monotonic() + wait_s
        while self._socket.poll(max(0, round((end_s - time.monotonic()) * 1000))):
            self._take(self._socket.recv())
        now_s = time.monotonic()
        self.ioc_running = is_running(self._runtime, OWNER) is not None
        self.workers = [self._view(name, now_s) for name in names]
        self.verdict = judge(self.workers, ioc_running=self.ioc_running)

    def _names(self) -> list[str]:
        """Return the workers: those of the configuration in its order, and others that run or ran."""
        return list(dict.fromkeys((*self._wanted, *(n for n in workers_seen(self._runtime) if n != OWNER))))

    def _take(self, message: bytes) -> None:
        snapshot: dict[str, Any] = orjson.loads(message)
        self._heard[snapshot["worker"]] = time.monotonic(), flat(snapshot)

    def _view(self, name: str, now_s: float) -> WorkerView:
        pid = is_running(self._runtime, name)
        if pid is None:
            values: Mapping[str, Any] = read_totals(self._runtime, name)
            gains = self._losses.look(name, values, now_s) if values else {}
            return WorkerView(name, values, running=False, wanted=self._wanted.get(name, not self._wanted), gains=gains)
        heard_s, values = self._heard.get(name, (self._began_s, {}))
        if values.get("pid") != pid:  # of an earlier life, or nothing yet
            return WorkerView(name, {}, responding=False)
        gains = self._losses.look(name, values, now_s)
        return WorkerView(name, values, responding=now_s - heard_s <= SILENCE_S, gains=gains)
