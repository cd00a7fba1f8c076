"""Buffer plans of one source, without a configuration file."""

from detectors.config import Config, DmaSection, PoolsSection, SourceSection, TimingSection
from detectors.pools.datadev import DriverRing
from detectors.pools.sizing import BufferPlan, plan_buffers


def plan_source(
    source: SourceSection,
    dma: DmaSection,
    pools: PoolsSection,
    payload_bytes: int | None,
    *,
    driver: DriverRing | None = None,
    timing: bool = True,
) -> BufferPlan:
    section = TimingSection(port=1) if timing else None
    config = Config.model_construct(dma=dma, pools=pools, timing=section)
    return plan_buffers(config, source, payload_bytes=payload_bytes, driver=driver)
