"""Time-outs of transitions, by the configuration.

Configure waits for the PV and faults in all buffers. Any other transition may have to wait while the worker makes new
buffers, and for the events queued before it.
"""

from typing import Final

from detectors.config import Config, PvaSection, SourceSection
from detectors.errors import SizingError
from detectors.pools.available import mem_available
from detectors.pools.datadev import read_datadev
from detectors.pools.sizing import plan_buffers
from detectors.workers.monitor.store import DRAIN_S

FAULT_RATE: Final = 128 << 20
"""Shared memory that a busy host faults in, bytes a second; an idle one does 1 GiB (measured, 4 KiB pages)."""

_MARGIN_S: Final = 2.0


def patience_s(config: Config, source: SourceSection, payload_bytes: int | None = None) -> float:
    """Return the longest time that a source's worker may need for a transition, s.

    ``payload_bytes`` is what its PV sends. When it is not known, the buffers may take all available memory.
    """
    driver = read_datadev() if isinstance(source, PvaSection) else None
    try:
        plan = plan_buffers(config, source, payload_bytes=payload_bytes, driver=driver)
        memory = mem_available() if plan.payload_bytes is None else plan.memory_bytes
    except SizingError:  # the worker refuses it at once
        memory = 0
    waits = DRAIN_S + _MARGIN_S + memory / FAULT_RATE
    if isinstance(source, PvaSection):
        waits += source.connect_timeout_s + source.match_tmo_ms / 1000
    return waits
