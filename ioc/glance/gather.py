"""What is known of a running system, without its IOC: snapshots that its workers publish, and the pages of those that ended."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import orjson
import zmq

from detectors.config import AlarmsSection, Config
from detectors.curve import load_client
from detectors.hosts import Reach, host_of, reach
from detectors.runtime_names import RuntimeNames
from detectors.stats import flat
from detectors.worker_names import workers
from detectors.workers.account import read_totals
from detectors.workers.commands import MAX_MESSAGE_BYTES, SILENCE_S
from detectors.workers.lock import is_running, workers_seen
from ioc.glance.recent_losses import RecentLosses
from ioc.glance.verdict import Verdict, WorkerView, judge
from ioc.status import OWNER

_ENDED: Final = ("Stopped", "Failed")
"""States of the last snapshot of a worker."""


class System:
    """One system, as seen from outside; context manager.

    With ``config`` it is known which workers are to run, and those of its hosts are heard over the network. Raises ConfigError
    when their keys cannot be read.
    """

    def __init__(self, runtime: RuntimeNames, config: Config | None = None) -> None:
        self.prefix = runtime.prefix
        self.workers: list[WorkerView] = []
        """What was known at the last ``look``."""
        self.verdict = Verdict(judge(()).word, ())
        self.ioc_running = False
        self._runtime = runtime
        self._wanted = (
            {name: source is None or source.enabled for name, source in workers(config).items()} if config else {}
        )
        hosts = {name: host_of(config, name) for name in self._wanted} if config else {}
        self._hosts = {name: host.name for name, host in hosts.items() if host}
        """The host of each worker that has one: whether it runs is not to be seen by its lock."""
        self._reaches = {name: reach(config, name) for name in self._hosts} if config else {}
        self._losses = RecentLosses((config.alarms if config else AlarmsSection()).window_s)
        self._heard: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._connected: set[str] = set()

    def __enter__(self) -> Self:
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._socket = self._subscriber()
        self._began_s = time.monotonic()
        try:
            self._connect_hosts(list(self._reaches.values()))
        except BaseException:
            self._context.destroy(linger=0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._context.destroy(linger=0)

    def _subscriber(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.SUB)
        socket.maxmsgsize = MAX_MESSAGE_BYTES
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def _connect_hosts(self, reaches: list[Reach]) -> None:
        if not reaches or not (keys := reaches[0].keys):
            return
        socket = self._subscriber()
        load_client(keys).use(socket)
        for found in reaches:
            socket.connect(found.status)

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
        for name in sorted(set(names) - self._connected - set(self._hosts)):
            self._socket.connect(self._runtime.status(name))
            self._connected.add(name)
        end_s = time.monotonic() + wait_s
        while readable := self._poller.poll(max(0, round((end_s - time.monotonic()) * 1000))):
            for socket, _ in readable:
                self._take(socket.recv())
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
        if name in self._hosts:
            return self._view_of_host(name, now_s)
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

    def _view_of_host(self, name: str, now_s: float) -> WorkerView:
        """Return a worker as its snapshots show it; one that may still be heard of runs and does not respond."""
        host, wanted = self._hosts[name], self._wanted[name]
        if name not in self._heard:
            return WorkerView(
                name, {}, running=now_s - self._began_s <= SILENCE_S, responding=False, wanted=wanted, host=host
            )
        heard_s, values = self._heard[name]
        gains = self._losses.look(name, values, now_s)
        is_heard = now_s - heard_s <= SILENCE_S
        running = is_heard and values.get("state") not in _ENDED
        return WorkerView(name, values, running=running, responding=is_heard, wanted=wanted, gains=gains, host=host)
