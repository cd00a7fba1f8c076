"""Results as PVs, served by p4p: numbers as NTScalar, vectors as NTScalarArray, arrays of more dimensions as NTNDArray."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from detectors.image_head import ImageHead
from detectors.outputs.pva_server import PvaServer
from detectors.pixels import PIXEL_TYPES
from detectors.wire.ntndarray_fields import image_fields

_CODES: Final = {name: np.dtype(name).char for name in ("bool", *PIXEL_TYPES)}
"""p4p's codes of the types that a PV can have: those of numpy."""


class PvaResults(PvaServer):
    """A PVA server of results, beside others on this host. For one thread. Raises HostError when it cannot serve there."""

    def __init__(self, interfaces: Iterable[str], port: int | None) -> None:
        from p4p import Value
        from p4p.nt import NTNDArray, NTScalar
        from p4p.server import StaticProvider
        from p4p.server.raw import SharedPV

        self._value, self._array_type, self._scalar = Value, NTNDArray.buildType(), NTScalar
        self._shared_pv = SharedPV
        self._served: dict[str, tuple[str, Any, Any]] = {}
        super().__init__("process", StaticProvider("results"), interfaces, port)

    def show(self, name: str, value: np.ndarray, head: ImageHead) -> None:
        """Show a result as the PV ``name``, which is made with the first one; complex numbers have no PV.

        A client of a result that comes back as another type connects again.
        """
        if value.dtype.kind == "c":
            return
        value = _in_pva(value)
        kind = "image" if value.ndim > 1 else f"{'a' * value.ndim}{_CODES[value.dtype.name]}"
        served = self._served.get(name)
        if served and served[0] == kind:
            _, nt, pv = served
            pv.post(self._wrapped(nt, value, head))
            return
        if served:
            self._provider.remove(name)
            served[2].close(destroy=True)
        nt = None if kind == "image" else self._scalar(kind)
        pv = self._shared_pv(initial=self._wrapped(nt, value, head))
        self._served[name] = kind, nt, pv
        self._provider.add(name, pv)

    def _wrapped(self, nt: Any, value: np.ndarray, head: ImageHead) -> Any:
        if nt is None:
            return self._value(self._array_type, image_fields(np.ascontiguousarray(value), head))
        plain = value if value.ndim else value.item()
        return nt.wrap(plain, timestamp=head.timestamp_ns / 1e9) if head.timestamp_ns else nt.wrap(plain)


def _in_pva(value: np.ndarray) -> np.ndarray:
    """Return a result as a type that a PV can have."""
    if value.ndim > 1 and value.dtype.kind == "b":
        return value.view(np.uint8)
    native = value.dtype.newbyteorder("=")
    return value.astype(native if native.name in _CODES else np.float64, copy=False)
