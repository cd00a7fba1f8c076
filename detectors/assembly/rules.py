"""The rules of assembly."""

from dataclasses import dataclass

from detectors.wire.headers import PulseFrom


@dataclass(frozen=True, slots=True)
class AssemblyRules:
    """What the configuration says of assembly; see UdpSection."""

    module_id: int
    """Index of the module in its detector: what frames carry."""
    reorder_window: int = 1
    flush_timeout_s: float = 0.1
    max_frame_gap: int = 100
    max_pulse_jump: int = 100_000
    pulse_id_step: int = 1
    expect_module_id: int | None = None
    """moduleID, row and column that packets must carry; None: any."""
    row: int | None = None
    column: int | None = None
    pulse_from: PulseFrom = "bunchid"
    pulse_period_ns: int = 10_000_000
