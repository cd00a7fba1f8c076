"""Compares what was stored with the pattern that the simulated sources send."""

import numpy as np

from ioc.demo.plan import GEOMETRY
from sim.pattern import first_mismatch, missing_flags


def mismatch(data: np.ndarray, pulse_id: int, module_id: int, missing_mask: bytes) -> int | None:
    """Return the first pixel that is not as sent; None when all are."""
    missing = missing_flags(missing_mask, GEOMETRY.packets_per_frame) if missing_mask else None
    return first_mismatch(data, pulse_id, module_id, data.shape, data.dtype, missing=missing)
