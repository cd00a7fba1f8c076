"""The buffer plan of a configuration, and as a text for its record, which follows the payload that a camera shows."""

from collections.abc import Mapping

from detectors.config import Config, PvaSection
from detectors.errors import ConfigError
from detectors.pools.datadev import read_datadev
from detectors.pools.sizing import BufferPlan, BufferSize, plan_all, size_text
from detectors.sources.pvspec import parse_pv_spec
from detectors.workers.monitor.pvs import declared


class Plan:
    """The plan of a configuration. Raises ConfigError, with every rule that is broken, when it is made."""

    def __init__(self, config: Config) -> None:
        self._config = config
        plans = plan_source_by_source(config)
        self._payloads = {name: plan.payload_bytes for name, plan in plans.items()}
        self.text = plan_text(plans)
        """The plan in words, or the rule that a payload breaks which the camera showed later."""

    def connected(self, source: str, payload_bytes: int) -> None:
        """Note the payload that a source sends, bytes; 0: not known."""
        if not payload_bytes or self._payloads.get(source) == payload_bytes:
            return
        self._payloads[source] = payload_bytes
        try:
            self.text = plan_text(plan_all(self._config, payloads=self._payloads, driver=read_datadev()))
        except ConfigError as error:
            self.text = str(error)


def plan_source_by_source(config: Config) -> dict[str, BufferPlan]:
    """Return the plans of all sources; payloads come from the configuration and the PV specifications.

    Raises SizingError with every rule that is broken, ConfigError for a malformed PV specification.
    """
    payloads = {source.name: _payload(source) for source in config.pva}
    return plan_all(config, payloads=payloads, driver=read_datadev())


def _payload(source: PvaSection) -> int | None:
    """Return the bytes of one frame, where the keys or the PV specifications give shape and type."""
    arrays = [declared(parse_pv_spec(text, source.name), source) for text in source.pv]
    return None if None in arrays else sum(array.payload_bytes for array in arrays if array)


def plan_text(plans: Mapping[str, BufferPlan]) -> str:
    """Return the plans as lines: what, count x size = total, and the reason for each number."""
    lines: list[str] = []
    for name, plan in plans.items():
        payload = "unknown" if plan.payload_bytes is None else f"{plan.payload_bytes:,} bytes"
        lines.append(f"{name}: payload {payload}")
        lines.append(_line("DMA", plan.dma))
        lines.append(_line("Pebble", plan.pebble))
        if plan.transition is not None:
            lines.append(_line("Transition", plan.transition))
    return "\n".join(lines)


def _line(what: str, size: BufferSize) -> str:
    each = size_text(size.size_bytes) if size.size_bytes else "?"
    total = size_text(size.total_bytes) if size.total_bytes else "?"
    return f"  {what}: {size.count} x {each} = {total} ({size.why})"
