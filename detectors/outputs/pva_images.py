"""Images as PVs, served by p4p: only while a client is connected, and for each client on its own.

A client that connects gets the newest image as its first; one that reads slowly skips images, and holds up nothing else.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from detectors.errors import HostError
from detectors.pools.heap import ARENA_MAX, MMAP_MAX, TOP_PAD, TRIM_THRESHOLD, tune_heap

_HEAP: Final = {MMAP_MAX: 0, ARENA_MAX: 1, TRIM_THRESHOLD: 256 << 20, TOP_PAD: 64 << 20}
"""Images come from one heap, which keeps a few of them: fresh memory for each costs more than its copy."""


@dataclass(slots=True)
class _Served:
    """The clients of one PV; each has a SharedPV, which opens with its first image."""

    new: set[Any] = field(default_factory=set[Any])
    open: set[Any] = field(default_factory=set[Any])


class PvaImages:
    """A PVA server of the PVs ``names``. For one thread, but for what p4p calls in its own.

    It shares the UDP port of searches with other servers of this host, and has a TCP port of its own. ``connected`` is
    called in a thread of p4p's when a client connects. Raises HostError when it cannot serve there.
    """

    def __init__(
        self, names: Iterable[str], interfaces: Iterable[str], port: int | None, connected: Callable[[], None]
    ) -> None:
        tune_heap(_HEAP)
        from p4p import Value
        from p4p.nt import NTNDArray
        from p4p.server import DynamicProvider, Server
        from p4p.server.raw import SharedPV

        self._value, self._type = Value, NTNDArray.buildType()
        self._shared_pv = SharedPV
        self._served = {name: _Served() for name in names}
        self._lock = Lock()
        self._connected = connected
        self._provider = DynamicProvider("images", self)
        try:
            self._server = Server([self._provider], conf=server_conf(interfaces, port, os.environ), useenv=False)
        except RuntimeError as error:
            raise HostError(f"images: cannot serve PVA: {error}; choose other interfaces, or another port") from None

    @property
    def port(self) -> int:
        """TCP port that it listens on."""
        return int(self._server.conf()["EPICS_PVAS_SERVER_PORT"])

    def clients(self, name: str) -> int:
        """Return how many clients a PV has."""
        served = self._served[name]
        return len(served.new) + len(served.open)

    def waiting(self, name: str) -> bool:
        """Return whether a client waits for its first image."""
        return bool(self._served[name].new)

    def post(self, name: str, fields: Mapping[str, Any], *, new_only: bool = False) -> None:
        """Send an NTNDArray with these fields to the clients of a PV, or to those that wait for their first.

        The array is copied once, whatever their number.
        """
        value = self._value(self._type, fields)
        served = self._served[name]
        with self._lock:  # p4p adds and removes clients meanwhile
            new, served.new = served.new, set[Any]()
            known = () if new_only else tuple(served.open)
            served.open |= new
        for pv in known:
            pv.post(value)
        for pv in new:
            pv.open(value)

    def close(self) -> None:
        """Disconnect all clients."""
        self._server.stop()

    def testChannel(self, name: str) -> bool:  # noqa: N802
        """Return whether there is such a PV. Called by p4p, as ``makeChannel``."""
        return name in self._served

    def makeChannel(self, name: str, peer: str) -> Any:  # noqa: N802, ARG002
        """Return what serves one client."""
        served = self._served[name]

        def ended(pv: Any) -> None:
            with self._lock:
                served.new.discard(pv)
                served.open.discard(pv)

        pv = self._shared_pv(handler=_Clients(ended))
        with self._lock:
            served.new.add(pv)
        self._connected()
        return pv


def server_conf(interfaces: Iterable[str], port: int | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Return p4p's configuration of a server that is beside another on the same host, with the rest from the environment.

    p4p would join the two, and take the port of the environment, which is the IOC's.
    """
    conf = {name: value for name, value in environment.items() if name.startswith("EPICS_PVA")}
    chosen = [*interfaces] or [entry.partition(":")[0] for entry in conf.get("EPICS_PVAS_INTF_ADDR_LIST", "").split()]
    conf.pop("EPICS_PVA_SERVER_PORT", None)
    return {**conf, "EPICS_PVAS_SERVER_PORT": str(port or 0), "EPICS_PVAS_INTF_ADDR_LIST": " ".join(chosen)}


class _Clients:
    """p4p calls it when the client of a SharedPV disconnects."""

    def __init__(self, ended: Callable[[Any], None]) -> None:
        self.onLastDisconnect = ended  # p4p's name
