"""A detector of two small modules: its configuration, the modules as a test plays them, and their images."""

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import zmq

from detectors.runtime_names import RuntimeNames
from sim.pattern import frame_pattern
from tests.support.fake_module import FakeModule

ROWS, COLS = 64, 128
TWO_MODULES = """
[detector]
name = "JF"
prefix = "{prefix}"
[dma]
cfgRxCount = 8
[[udp]]
name = "M00"
expect_module_id = 0
port = 50020
geometry = {{ header = "jungfrau", rows = 64, cols = 128, dtype = "uint16", packets_per_frame = 4 }}
[[udp]]
name = "M01"
expect_module_id = 1
port = 50021
geometry = {{ header = "jungfrau", rows = 64, cols = 128, dtype = "uint16", packets_per_frame = 4 }}
"""
STREAMED = (
    TWO_MODULES
    + """
[stream]
full = "ipc://{folder}/full"
reduced = "ipc://{folder}/reduced"
pulse = "ipc://{folder}/pulse"
reduced_rate_hz = 5
missing_after_s = 0.3
high_water_mark = 4
{more}
"""
)


def play_modules(stack: ExitStack, runtime: RuntimeNames, context: zmq.Context) -> list[FakeModule]:
    """Start both modules, which end with ``stack``."""
    modules = [FakeModule(runtime, number, context) for number in (0, 1)]
    for module in modules:
        stack.callback(module.close)
    return modules


def pattern_image(
    pulse_id: int, modules: Sequence[int] = (0, 1), *, shape: tuple[int, int] = (ROWS, COLS)
) -> np.ndarray:
    """The image of a pulse from modules of a shape; those that are missing are zero."""
    parts = [frame_pattern(pulse_id, m, shape, "uint16") for m in (0, 1)]
    return np.concatenate([part if m in modules else np.zeros_like(part) for m, part in enumerate(parts)])
