"""The losses of the last seconds, for a reader who sees snapshots only now and then."""

from collections.abc import Mapping
from typing import Any

from detectors.stats import flat
from detectors.workers.losses import CAUSES, LIVE_LOSSES, losses_of
from ioc.glance.verdict import WorkerView
from ioc.recent import RecentGain


class RecentLosses:
    """The gains of all counters of losses of one system, since the first look and over ``window_s`` at most."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._windows: dict[tuple[str, str], RecentGain] = {}
        self._began_s: float | None = None
        self.span_s = 0.0
        """Over how long the gains are, s."""

    def look(self, worker: str, values: Mapping[str, Any], now_s: float) -> dict[str, int]:
        """Take the present counters of a worker, and return how much those of losses grew."""
        self._began_s = now_s if self._began_s is None else self._began_s
        self.span_s = min(self._window_s, now_s - self._began_s)
        return {
            name: self._windows.setdefault((worker, name), RecentGain(self._window_s)).add(now_s, values[name])
            for name in (*losses_of(values), *CAUSES, *LIVE_LOSSES)
            if name in values
        }

    def views(self, snapshots: Mapping[str, Any], now_s: float) -> list[WorkerView]:
        """Return the views of workers that all run, by their snapshots."""
        values = {worker: flat(snapshot) for worker, snapshot in snapshots.items()}
        return [WorkerView(name, shown, gains=self.look(name, shown, now_s)) for name, shown in values.items()]
