"""Images as PVs, served by p4p: only while a client is connected, and for each client on its own.

A client that connects gets the newest image as its first; one that reads slowly skips images, and holds up nothing else.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from detectors.outputs.pva_server import PvaServer
from detectors.pools.heap import ARENA_MAX, MMAP_MAX, TOP_PAD, TRIM_THRESHOLD, tune_heap

_HEAP: Final = {MMAP_MAX: 0, ARENA_MAX: 1, TRIM_THRESHOLD: 256 << 20, TOP_PAD: 64 << 20}
"""Images come from one heap, which keeps a few of them: fresh memory for each costs more than its copy."""


@dataclass(slots=True)
class _Served:
    """The clients of one PV; each has a SharedPV, which opens with its first image."""

    new: set[Any] = field(default_factory=set[Any])
    open: set[Any] = field(default_factory=set[Any])


class PvaImages(PvaServer):
    """A PVA server of the PVs ``names``. For one thread, but for what p4p calls in its own.

    ``connected`` is called in a thread of p4p's when a client connects. Raises HostError when it cannot serve there.
    """

    def __init__(
        self, names: Iterable[str], interfaces: Iterable[str], port: int | None, connected: Callable[[], None]
    ) -> None:
        tune_heap(_HEAP)
        from p4p import Value
        from p4p.nt import NTNDArray
        from p4p.server import DynamicProvider
        from p4p.server.raw import SharedPV

        self._value, self._type = Value, NTNDArray.buildType()
        self._shared_pv = SharedPV
        self._served = {name: _Served() for name in names}
        self._lock = Lock()
        self._connected = connected
        super().__init__("images", DynamicProvider("images", self), interfaces, port)

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


class _Clients:
    """p4p calls it when the client of a SharedPV disconnects."""

    def __init__(self, ended: Callable[[Any], None]) -> None:
        self.onLastDisconnect = ended  # p4p's name
