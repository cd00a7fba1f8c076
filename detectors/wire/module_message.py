"""The module stream: a two-part ZMQ message of one ModuleFrame and its pixels. Source: sf-buffer."""

from collections.abc import Sequence

import numpy as np

from detectors.errors import WireError
from detectors.frame import MODULE_FRAME, FrameHead


def parse_module_message(
    parts: Sequence[bytes | memoryview], data_bytes: int, expected_packets: int = 0
) -> tuple[FrameHead, np.ndarray]:
    """Return head and pixels (uint8[data_bytes], a read-only view) of one message.

    Raises WireError when the message has not two parts of the expected lengths.
    """
    if len(parts) != 2:
        raise WireError(f"module message: found {len(parts)} parts, expected 2 (ModuleFrame and data)")
    head, data = (memoryview(p) for p in parts)
    if head.nbytes != MODULE_FRAME.itemsize:
        raise WireError(f"module message: found a header of {head.nbytes} bytes, expected {MODULE_FRAME.itemsize}")
    if data.nbytes != data_bytes:
        raise WireError(f"module message: found {data.nbytes} bytes of data, expected {data_bytes}")
    pixels = np.frombuffer(data, np.uint8)
    pixels.flags.writeable = False
    return FrameHead.from_module_frame(head, expected_packets), pixels
