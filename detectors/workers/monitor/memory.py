"""Which buffers a PvMonitor has for what its PVs send, and when it needs others. Pure."""

import logging
from collections.abc import Sequence

from detectors.assembly.datagram import DatagramLayout
from detectors.config import Config, PvaSection
from detectors.errors import PebbleDaqError, SizingError
from detectors.pools.datadev import DriverRing
from detectors.pools.sizing import BufferPlan, plan_buffers
from detectors.sources.image_sink import Description
from detectors.workers.monitor.messages import Build, Count, Free, Restage, Steps
from detectors.workers.monitor.pvs import Pvs

log = logging.getLogger(__name__)


class Memory:
    """Makes and frees the buffers. While it does, the gate is closed; the attributes may be read by any thread."""

    def __init__(self, config: Config, source: PvaSection, pvs: Pvs, driver: DriverRing | None) -> None:
        self.plan: BufferPlan = plan_buffers(config, source, driver=driver)
        """Of the present buffers; before the first ones as the configuration says."""
        self.layout: DatagramLayout | None = None
        """Of the events that there are buffers for; None without buffers."""
        self._config, self._source, self._pvs, self._driver = config, source, pvs, driver
        self._making = ""
        self._stuck: tuple[str, list[Description | None]] | None = None
        """Why there are no buffers for what the PVs send, and what they sent then."""

    @property
    def paused(self) -> str:
        """Why events cannot be placed at present; empty when they can, or when the run is not configured."""
        return self._making or (self._stuck[0] if self._stuck else "") or self._pvs.mismatch

    @property
    def must_change(self) -> bool:
        """Whether PVs send other arrays than there are buffers for, and the configuration says to make others."""
        if self._stuck:
            return self._stuck[1] != self._pvs.seen() and self._pvs.ready(or_declared=True)
        return bool(self._pvs.waiting and self.layout) and self._source.on_payload_change == "replan"

    def make(self) -> Steps:
        """Make buffers for what the PVs send, or keep those that fit. Raises PebbleDaqError."""
        arrays = self._pvs.arrays()
        layout = self._pvs.layout(arrays)
        if not self._fits(layout):
            yield from self._build(self._plan_for(layout), layout, arrays)

    def free(self) -> Steps:
        """Free the buffers, if there are any, and forget what there could be none for."""
        yield from self._free()
        self._stuck = None

    def change(self) -> Steps:
        """Make buffers for what the PVs send now, while the run goes on; on failure it is paused."""
        self._making = "the payload changed: making new buffers"
        seen = self._pvs.seen()
        try:
            arrays = self._pvs.arrays()
            layout = self._pvs.layout(arrays)
            if not self._fits(layout):
                yield from self._remake(layout, arrays)
                yield Count({"replans": 1})
        except PebbleDaqError as error:
            log.error("paused: %s", error)  # noqa: TRY400  a user's error
            self._stuck = (str(error), seen)
        finally:
            self._making = ""

    def _fits(self, layout: DatagramLayout) -> bool:
        return self.layout == layout and not self._stuck

    def _plan_for(self, layout: DatagramLayout) -> BufferPlan:
        return plan_buffers(self._config, self._source, payload_bytes=layout.payload_bytes, driver=self._driver)

    def _build(self, plan: BufferPlan, layout: DatagramLayout, arrays: Sequence[Description]) -> Steps:
        yield from self._free()
        error: PebbleDaqError | None = yield Build(plan, layout, arrays)
        if error:
            raise error
        self.plan, self.layout, self._stuck = plan, layout, None
        self._pvs.plan_for(arrays)
        log.info("%d bytes an event; pebble %s", layout.payload_bytes, plan.pebble.why)

    def _free(self) -> Steps:
        if self.layout:
            self.layout = None
            self._pvs.plan_for(())
            yield Free()

    def _remake(self, layout: DatagramLayout, arrays: Sequence[Description]) -> Steps:
        """Make buffers, or larger transition slots alone where the size of a record was given by hand."""
        try:
            plan = self._plan_for(layout)
        except SizingError as error:
            by_hand = self._config.pools_of(self._source).pebble_buf_size is not None
            if not (self.layout and by_hand and layout.payload_bytes > self.plan.record_shape.data_bytes):
                raise
            log.warning("%s; events are truncated", error)
            yield Restage(layout, arrays)
            self.layout, self._stuck = layout, None
            self._pvs.plan_for(arrays)
        else:
            yield from self._build(plan, layout, arrays)
