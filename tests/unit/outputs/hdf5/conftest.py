import numpy as np
import pytest

from detectors.buffer.reader import BufferReader
from tests.unit.buffer.make import RawBuffer

START = 12_345_990


@pytest.fixture
def raw(tmp_path) -> RawBuffer:
    """Two modules, 30 pulses over the edge of a file: M01 lacks one, none has another, one frame is incomplete."""
    raw = RawBuffer(tmp_path / "JF01")
    for pulse_id in range(START, START + 30):
        for module in raw.modules:
            if pulse_id == START + 4 or (pulse_id == START + 7 and module == "M01"):
                continue
            packets = 127 if (pulse_id, module) == (START + 12, "M00") else None
            raw.put(module, pulse_id, packets=packets, missing=b"\1" if packets else b"")
    return raw


@pytest.fixture
def reader(raw) -> BufferReader:
    return BufferReader(raw.folder)


@pytest.fixture
def expected_image(raw):
    """What an image must hold, by its pulse_id."""

    def image(pulse_id: int) -> np.ndarray:
        parts = [raw.frame(module, pulse_id).copy() for module in raw.modules]
        for part, module in zip(parts, raw.modules, strict=True):
            if pulse_id == START + 4 or (pulse_id == START + 7 and module == "M01"):
                part[:] = 0
        return np.concatenate(parts)

    return image
