"""A client of the IOC that rebuilds the snapshots of all workers from the PVs."""

import re
import time
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, TypeVar

from p4p.client.thread import Context

from detectors.config import Config
from detectors.errors import HostError
from detectors.stats import MonitorStatus, ReceiverStatus, flat
from ioc.templates import Load, loads

_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.1
_SETTLED_S: Final = 1.0
"""When no counter has changed for so long, everything has been drained, s."""
_RECORD: Final = re.compile(r'^record\(\w+, "([^"]+)"\)\s*\{(.*?)^\}', re.MULTILINE | re.DOTALL)
_STATUS: Final = re.compile(r'info\(pebbledaq:status,\s*"(\S+) (\S+)"\)')

Snapshot = TypeVar("Snapshot")


def status_records(load: Load) -> dict[tuple[str, str], str]:
    """Return (worker, field of its snapshot) -> record of one template, after its own info tags."""
    found: dict[tuple[str, str], str] = {}
    for name, body in _RECORD.findall(load.path.read_text(encoding="utf-8")):
        for field, worker in _STATUS.findall(body):
            texts = (re.sub(r"\$\((\w+)\)", lambda m: load.macros[m[1]], text) for text in (worker, field, name))
            owner, dotted, record = texts
            found[owner, dotted] = record
    return found


def put_together(defaults: Snapshot, values: Mapping[str, Any], prefix: str = "") -> Snapshot:
    """Return a snapshot with the fields that ``values`` has by dotted names, in the types of ``defaults``."""
    changes: dict[str, Any] = {}
    for field in fields(defaults):  # type: ignore[arg-type]
        name, old = f"{prefix}{field.name}", getattr(defaults, field.name)
        if is_dataclass(old):
            changes[field.name] = put_together(old, values, f"{name}.")
        elif name in values:
            changes[field.name] = type(old)(values[name])
    return replace(defaults, **changes)  # type: ignore[type-var]


class DemoClient:
    """Reads and writes the PVs of the IOC over PVA.

    Raises HostError when it does not answer in time.
    """

    def __init__(self, config: Config, environment: Mapping[str, str]) -> None:
        self._prefix = config.detector.prefix
        kinds = {"udp": ReceiverStatus(), "pva": MonitorStatus()}
        wanted = {
            f"{kind}.{s.name}": flat(kinds[kind])
            for kind, table in (("udp", config.udp), ("pva", config.pva))
            for s in table
        }
        self._records = {
            key: name
            for load in loads(config)
            for key, name in status_records(load).items()
            if key[0] in wanted and key[1] in wanted[key[0]]
        }
        self._kinds = {worker: kinds[worker.split(".")[0]] for worker in wanted}
        conf = {name: value for name, value in environment.items() if name.startswith("EPICS_PVA_")}
        self._context = Context("pva", nt=False, conf=conf, useenv=False)

    def snapshots(self) -> dict[str, Any]:
        """Return the snapshot of every source's worker, by the worker's name."""
        names = list(self._records.values())
        values = self._get(names)
        found: dict[str, dict[str, Any]] = {worker: {} for worker in self._kinds}
        for (worker, field), value in zip(self._records, values, strict=True):
            found[worker][field] = value
        return {worker: _named(put_together(self._kinds[worker], found[worker])) for worker in found}

    def pids(self) -> dict[str, int]:
        """Return the process of each source's worker, by the source's name."""
        names = [worker.split(".", 1)[1] for worker in self._kinds]
        return dict(zip(names, self._get([f"{self._prefix}{name}:Pid_RBV" for name in names]), strict=True))

    def drained(self, timeout_s: float) -> dict[str, Any]:
        """Return the snapshots once nothing is queued and no counter changes, or at the time-out."""
        deadline_s = time.monotonic() + timeout_s
        last, since_s = self.snapshots(), time.monotonic()
        while time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
            now = self.snapshots()
            if _counters(now) != _counters(last):
                since_s = time.monotonic()
            last = now
            if time.monotonic() - since_s > _SETTLED_S and not any(s.disk.queued or s.zmq.queued for s in now.values()):
                break
        return last

    def get(self, record: str) -> Any:
        """Return the value of one record, by its name without the prefix; a choice as its text."""
        return self._get([self._prefix + record])[0]

    def put(self, record: str, value: Any) -> None:
        """Write one record."""
        try:
            self._context.put(self._prefix + record, value, timeout=_TIMEOUT_S)
        except (TimeoutError, RuntimeError) as error:
            raise HostError(f"{self._prefix}{record}: cannot be written: {error or 'no answer'}") from None

    def wait_for(self, record: str, value: Any, timeout_s: float) -> None:
        """Wait until a record has a value."""
        deadline = time.monotonic() + timeout_s
        while (found := self.get(record)) != value:
            if time.monotonic() > deadline:
                source, _, _ = record.rpartition(":")
                reason = self.get(f"{source}:Message_RBV" if source else "Message_RBV")
                raise HostError(
                    f"{self._prefix}{record}: found {found}, expected {value} within {timeout_s:g} s"
                    + (f"; {reason}" if reason else "")
                )
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Disconnect."""
        self._context.close()

    def _get(self, names: list[str]) -> list[Any]:
        values: list[Any] = self._context.get(names, timeout=_TIMEOUT_S, throw=False)  # type: ignore[assignment]
        for name, value in zip(names, values, strict=True):
            if isinstance(value, Exception):
                raise HostError(f"{name}: no answer within {_TIMEOUT_S:g} s: {value!r}")
        return [_plain(value.value) for value in values]


def _counters(snapshots: Mapping[str, Any]) -> list[Any]:
    return [getattr(s, "packets", None) or s.updates for s in snapshots.values()]


def _plain(value: Any) -> Any:
    """Return a choice as its text, long strings as text, and everything else as it is."""
    if hasattr(value, "choices"):
        return value.choices[value.index] if value.index < len(value.choices) else str(value.index)
    return value


def _named(snapshot: Any) -> Any:
    """Fill in the names of the outputs, which have no record: the balance counts named ones only."""
    named = {name: replace(getattr(snapshot, name), name=name) for name in ("disk", "zmq")}
    return replace(snapshot, **named)
