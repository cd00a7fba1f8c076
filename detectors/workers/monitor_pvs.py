"""The PVs of one PvMonitor together: what is known of what they send."""

import threading
import time
from collections.abc import Sequence

import numpy as np

from detectors.assembly.datagram import DatagramLayout
from detectors.config import PvaSection
from detectors.errors import ConfigError, HostError
from detectors.pools.transition import TransitionPool
from detectors.sources.image_source import Description
from detectors.sources.pvspec import PvSpec
from detectors.wire.ntndarray import STRING_BYTES
from detectors.workers.intake import Intake

_LOOK_S = 0.05
"""Interval at which a wait for PVs looks whether the worker is to stop."""


class NotConnectedError(HostError):
    """A PV did not connect in time."""


def declared(spec: PvSpec, source: PvaSection) -> Description | None:
    """Return what specification and configuration say of a PV's arrays; None when they leave shape or type open."""
    dtype = spec.dtype or source.dtype
    shape = source.shape if spec.shape is None else spec.shape
    if dtype is None or shape is None:
        return None
    if dtype == "str":
        return Description(STRING_BYTES, (STRING_BYTES,), "uint8", "")
    return Description(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize, shape, dtype, "")


class Pvs:
    """The intakes, in the order of the fields, and what is ``known`` of each PV beforehand. For the event thread."""

    def __init__(
        self, intakes: Sequence[Intake], known: Sequence[Description | None], connect_timeout_s: float
    ) -> None:
        self.intakes = tuple(intakes)
        self._known = tuple(known)
        self._timeout_s = connect_timeout_s

    @property
    def up(self) -> bool:
        """Whether all are connected."""
        return all(i.up for i in self.intakes)

    def seen(self) -> list[Description | None]:
        """Return what each sends, or sent last."""
        return [i.description for i in self.intakes]

    def ready(self, *, or_declared: bool) -> bool:
        """Whether Configure need not wait: each PV has shown what it sends, for good or ill, or it is declared."""
        return all(
            i.refusal or (i.up and i.description) or (or_declared and known)
            for i, known in zip(self.intakes, self._known, strict=True)
        )

    def wait(self, wake: threading.Event, stop: threading.Event) -> None:
        """Wait until all are ready, for the connection's time-out or the stop."""
        deadline = time.monotonic() + self._timeout_s
        while not self.ready(or_declared=False) and time.monotonic() < deadline and not stop.is_set():
            wake.wait(_LOOK_S)
            wake.clear()

    def arrays(self) -> list[Description]:
        """Return what each PV sends, or will.

        Raises ConfigError for one that disagrees with the configuration, NotConnectedError for one that is not there.
        """
        found: list[Description] = []
        for intake, known in zip(self.intakes, self._known, strict=True):
            if intake.refusal:
                raise ConfigError(str(intake.refusal))
            array = intake.description if intake.up else known
            if array is None:
                why = f" ({intake.message})" if intake.message else ""
                raise NotConnectedError(
                    f"{intake.name}: has not connected within {self._timeout_s:g} s{why}; start its server, or give "
                    "dtype and shape to configure without it"
                )
            found.append(array)
        return found

    def layout(self, arrays: Sequence[Description]) -> DatagramLayout:
        """Return how the arrays lie in an event."""
        return DatagramLayout.of([(i.name, a) for i, a in zip(self.intakes, arrays, strict=True)])

    def attach(self, pools: Sequence[TransitionPool], arrays: Sequence[Description]) -> None:
        """Give each PV its slots."""
        for intake, pool, array in zip(self.intakes, pools, arrays, strict=True):
            intake.attach(pool, array)

    def detach(self) -> None:
        """Take the slots away."""
        for intake in self.intakes:
            intake.detach()

    def accept(self, accepting: bool) -> None:  # noqa: FBT001
        """Tell all whether updates are wanted. The caller holds the tally's lock."""
        for intake in self.intakes:
            intake.accepting = accepting

    @property
    def mismatch(self) -> str:
        """Which PV sends other arrays than there are slots for; empty when none does."""
        for intake in self.intakes:
            if intake.mismatch:
                return intake.message or f"{intake.name}: the payload changed; Configure again, or restore it"
        return ""

    @property
    def message(self) -> str:
        """What is wrong with the first PV that has something wrong; empty when all is well."""
        return next((i.message for i in self.intakes if i.message), "")
