"""Everything that records show: the workers ten times a second, the IOC itself twice a second and after each command."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from detectors.run_state import RunState
from detectors.runtime_names import RuntimeNames
from detectors.stats import flat
from detectors.workers.account import read_totals
from ioc.autosave import OWNER as AUTOSAVE
from ioc.autosave import Autosave
from ioc.bindings import Bindings, Handler
from ioc.events import SEVERITIES, EventLog, LastWarning
from ioc.face import Face
from ioc.following import Follower
from ioc.health import HealthWatch
from ioc.hosts import Hosts
from ioc.observer import View
from ioc.plan import Plan
from ioc.records import Records
from ioc.retention import OWNER as RETENTION
from ioc.retention import Retention
from ioc.roster import Roster
from ioc.run_control import state_by_label
from ioc.runs import Runs
from ioc.status import OWNER, IocStatus
from ioc.tables import Table, tables
from ioc.turns import Turns


class Display:
    """The records of a server. Made after the templates are loaded, and before EPICS starts."""

    def __init__(
        self,
        prefix: str,
        bindings: Bindings,
        handlers: Mapping[str, Handler],
        defaults: Mapping[str, Any],
        *,
        roster: Roster,
        runs: Runs,
        faces: Sequence[Face],
        follower: Follower,
        plan: Plan,
        hosts: Hosts,
        retention: Retention | None,
        autosave: Autosave,
        warnings: list[str],
        window_s: float,
        events: EventLog,
        last_warning: LastWarning,
    ) -> None:
        self._prefix = prefix
        self._roster = roster
        self._runs = runs
        self._faces = faces
        self._follower = follower
        self._plan = plan
        self._hosts = hosts
        self._retention = retention
        self._autosave = autosave
        self._events = events
        self._last_warning = last_warning
        self._health = HealthWatch(events, prefix)
        self._records = Records(bindings, handlers, self._command_done, self._health.state_changed)
        runtime = RuntimeNames(prefix)
        self._views = {
            worker: View(empty, self._records.fields(worker), window_s, partial(read_totals, runtime, worker))
            for worker, empty in defaults.items()
        }
        self._turns = Turns(len(self._views))
        self._refusal, self._refused_s = "", 0.0
        self._started_s = time.monotonic()
        self._published = -1
        self._in_progress = [(False, False) for _ in faces]
        self._status = IocStatus(
            version=_version(),
            start_time=datetime.now().astimezone().isoformat(" ", "seconds"),
            pid=os.getpid(),
            host="\n".join(warnings),
            host_warnings=len(warnings),
        )

    def __len__(self) -> int:
        return len(self._records)

    def known(self) -> dict[str, Mapping[str, Any]]:
        """Return what the records show of each worker, by field."""
        return {worker: view.values for worker, view in self._views.items()}

    def tables(self) -> dict[str, Table]:
        """Return the tables of what the records show now."""
        return tables(self.known(), self._events.kept)

    def show_workers(self, now_s: float) -> None:
        """Show what changed of the workers, and note which respond and the state of each."""
        responding: set[str] = set()
        for worker, view in self._views.items():
            heard = self._roster.heard.get(worker)
            busy = self._roster.commands[worker] > 0
            changed = view.look(self._roster.processes[worker], heard, now_s, in_command=busy)
            state = view.values.get("state"), view.values.get("run_state"), view.valid, busy
            if self._turns.is_due(worker, state, now_s, changed=bool(changed)):
                self._records.show(worker, view.values if self._turns.rests else changed, valid=view.valid)
                self._plan.connected(worker.partition(".")[2], view.values.get("payload_bytes", 0))
            if view.responding:
                responding.add(worker)
                if worker in self._runs and heard and (label := view.values.get("run_state")):
                    self._runs.of(worker).seen(worker, state_by_label(label), heard.made_ns)
        self._roster.responding = frozenset(responding)
        if self._runs.reached.label != self._status.run_state:
            self._show_run()
        values = self.known()
        for face in self._faces:
            face.show(self._records, values, now_s)
        in_progress = [face.in_progress for face in self._faces]
        if in_progress != self._in_progress:
            self._in_progress = in_progress
            self._records.refresh()

    def show_ioc(self, now_s: float) -> None:
        """Show the IOC as a whole, the hosts, its worst alarm, the retention, the autosave, and the value in force of every setpoint."""
        if self._retention:
            self._records.show(RETENTION, flat(self._retention.status(self.known())))
        self._records.show(AUTOSAVE, flat(self._autosave.status))
        for owner, values, valid in self._hosts.look(now_s):
            self._records.show(owner, values, valid=valid)
        if self._published != self._records.published:
            self._published = self._records.published
            alarm, health = self._health.look(self._records.readings)
            self._status = replace(self._status, alarm=alarm, health=health)
        processes = self._roster.processes.values()
        uptime_s = int(now_s - self._started_s)
        self._status = replace(
            self._status,
            uptime_s=float(uptime_s),
            heartbeat=uptime_s,
            workers=sum(process.enabled for process in processes),
            workers_running=len(self._roster.responding),
            workers_restarted=sum(process.restarts for process in processes),
            plan=self._plan.text,
        )
        self._show_run()

    def _show_run(self) -> None:
        reached, event = self._runs.reached, self._events.last
        self._status = replace(
            self._status,
            run_state=reached.label,
            acquiring=reached is RunState.ENABLED,
            message=self._runs.progress or self._refusal or self._follower.message or self._runs.behind,
            event=event.line if event else "",
            event_severity=SEVERITIES[event.severity if event else 0],
            events=self._events.count,
            log=self._last_warning.line,
            log_severity=SEVERITIES[self._last_warning.severity],
        )
        self._records.show(OWNER, flat(self._status))
        for face in self._faces:
            face.show_settings(self._records)
        self._records.refresh()

    def _command_done(self, record: str, refusal: str | None, at_s: float) -> None:
        """Show the outcome of a command before its put completes.

        A good one, which began ``at_s``, leaves the refusal of another that was refused after that.
        """
        name = record.removeprefix(self._prefix)
        if refusal:
            self._refusal, self._refused_s = f"{name}: {refusal}", at_s
            self._events.add(name, 1, f"refused: {refusal}")
        elif at_s > self._refused_s:
            self._refusal = ""
        self._status = replace(self._status, refused=self._status.refused + (refusal is not None))
        self._show_run()


def _version() -> str:
    with suppress(PackageNotFoundError):
        return version("pebbledaq")
    return "not installed"
