"""The PVs of one monitor together: what is known of what they send. Pure."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detectors.assembly.datagram import DatagramLayout
from detectors.config import PvaSection
from detectors.errors import ConfigError, HostError
from detectors.sources.image_sink import Description
from detectors.sources.pvspec import STRING_DTYPE, PvSpec
from detectors.wire.ntndarray import STRING_BYTES
from detectors.workers.monitor.messages import PvChanged, PvState


class NotConnectedError(HostError):
    """A PV did not connect in time."""


def declared(spec: PvSpec, source: PvaSection) -> Description | None:
    """Return what specification and configuration say of a PV's arrays; None when they leave shape or type open."""
    dtype = spec.dtype or source.dtype
    if dtype == STRING_DTYPE:
        return Description(STRING_BYTES, (STRING_BYTES,), "uint8", "")
    shape = source.shape if spec.shape is None else spec.shape
    if dtype is None or shape is None:
        return None
    return Description(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize, shape, dtype, "")


def conform(description: Description, name: str, spec: PvSpec, source: PvaSection) -> Description:
    """Return the description in the shape that specification and configuration ask for.

    Raises ConfigError when the arrays of the PV, called ``name``, are not like that.
    """
    shape = description.shape
    if spec.firstdim is not None and len(shape) == 1:
        if shape[0] % spec.firstdim:
            raise ConfigError(
                f"{name}: found {shape[0]} elements, expected a multiple of {spec.firstdim}, the firstdim of its "
                "specification; correct it, or leave it out"
            )
        shape = (spec.firstdim, shape[0] // spec.firstdim)
    dtype = spec.dtype or source.dtype or description.dtype
    expected = source.shape if spec.shape is None else spec.shape
    if dtype == STRING_DTYPE:
        dtype, expected = "uint8", (STRING_BYTES,)
    elif expected is None or (len(shape) == 1 and shape[0] == math.prod(expected)):
        shape = expected = shape if expected is None else expected
    if (description.dtype, shape) != (dtype, expected):
        raise ConfigError(
            f"{name}: found {list(shape)} {description.dtype}, expected {list(expected)} {dtype} as configured; correct "
            "its specification, or dtype and shape of the source, or leave them out"
        )
    return replace(description, shape=shape)


class Pvs:
    """The states of all PVs, in the order of their fields. ``known`` is what is declared of each."""

    def __init__(self, names: Sequence[str], known: Sequence[Description | None], connect_timeout_s: float) -> None:
        self.waiting: set[int] = set()
        """PVs whose sources wait for slots."""
        self.mismatch = ""
        """Which PV sends other arrays than there are slots for; empty when all fit, or when there are no slots."""
        self._planned: Sequence[Description] = ()
        self._names, self._known, self._timeout_s = names, known, connect_timeout_s
        self._states = [PvState()] * len(names)

    def __len__(self) -> int:
        return len(self._names)

    def change(self, changed: PvChanged) -> None:
        """Take note of the state of one PV."""
        self._states[changed.pv] = changed.state
        if changed.waits:
            self.waiting.add(changed.pv)
        self.plan_for(self._planned)

    def plan_for(self, planned: Sequence[Description]) -> None:
        """Take note of what there are slots for; nothing when there are none."""
        self._planned = planned
        self.mismatch = next(
            (
                state.message or f"{name}: the payload changed; Configure again, or restore it"
                for name, state, array in zip(self._names, self._states, planned, strict=False)
                if not state.fits(array)
            ),
            "",
        )

    def seen(self) -> list[Description | None]:
        """Return what each sends; None for one that is not connected or cannot be used."""
        return [state.description if state.up else None for state in self._states]

    def ready(self, *, or_declared: bool) -> bool:
        """Whether Configure need not wait: each PV has sent an array, whether it can be used or not, or is declared."""
        return all(
            state.refusal or (state.up and state.description) or (or_declared and known)
            for state, known in zip(self._states, self._known, strict=True)
        )

    def arrays(self) -> list[Description]:
        """Return what each PV sends, or is declared to send.

        Raises ConfigError for one that disagrees with the configuration, NotConnectedError for one that is not
        connected.
        """
        found: list[Description] = []
        for name, state, known in zip(self._names, self._states, self._known, strict=True):
            if state.refusal:
                raise ConfigError(str(state.refusal))
            array = state.description if state.up else known
            if array is None:
                why = f" ({state.message})" if state.message else ""
                raise NotConnectedError(
                    f"{name}: has not connected within {self._timeout_s:g} s{why}; start its server, or give dtype and "
                    "shape to configure without it"
                )
            found.append(array)
        return found

    def layout(self, arrays: Sequence[Description]) -> DatagramLayout:
        """Return how the arrays lie in an event."""
        return DatagramLayout.of(list(zip(self._names, arrays, strict=True)))
