"""The buffer plan as a text for its record, and anew when a camera shows another payload than was planned for."""

from collections.abc import Mapping

from detectors.config import Config
from detectors.errors import ConfigError
from detectors.pools.datadev import read_datadev
from detectors.pools.sizing import BufferPlan, BufferSize, plan_all, size_text
from ioc.cli.sizes import plan_source_by_source


class Plan:
    """The plan of a configuration. Raises ConfigError, with every rule that is broken, when it is made."""

    def __init__(self, config: Config) -> None:
        self._config = config
        plans = plan_source_by_source(config)
        self._payloads = {name: plan.payload_bytes for name, plan in plans.items()}
        self.text = plan_text(plans)
        """The plan in words; the reason instead, when a payload that came later breaks a rule."""

    def connected(self, source: str, payload_bytes: int) -> None:
        """Take the payload that a source has shown, bytes; 0 is none."""
        if not payload_bytes or self._payloads.get(source) == payload_bytes:
            return
        self._payloads[source] = payload_bytes
        try:
            self.text = plan_text(plan_all(self._config, payloads=self._payloads, driver=read_datadev()))
        except ConfigError as error:
            self.text = str(error)


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
