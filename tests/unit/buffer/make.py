"""What the buffer's tests share: leases to write, and buffers made without the writer under test."""

import json
import struct
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from crc32c import crc32c

from detectors.frame import FrameHead, RecordShape
from detectors.pixels import FrameLayout
from detectors.pools.pebble import Pebble, PebbleLease
from detectors.pools.segment import least_slot_bytes


def pixels(pulse_id: int, module_id: int, nbytes: int) -> bytes:
    """Bytes that differ from place to place and from pulse to pulse."""
    return np.random.default_rng([pulse_id, module_id]).integers(0, 256, nbytes, np.uint8).tobytes()


def record(pulse_id: int, module_id: int, nbytes: int, *, packets: int = 128, data: bytes | None = None) -> bytes:
    """The documented record, built independently of the code under test."""
    head = struct.pack("<BQQQQQ", 0xBE, pulse_id, pulse_id + 7, 3, packets, module_id)
    return head + (pixels(pulse_id, module_id, nbytes) if data is None else data)


class FrameMaker:
    """Leases on a small pebble, with the same contents as ``record``."""

    def __init__(self, nbytes: int, module_id: int = 3, slots: int = 2) -> None:
        self.shape = RecordShape(nbytes)
        self.module_id = module_id
        self._pebble = Pebble(None, self.shape, count=slots, slot_bytes=least_slot_bytes(self.shape))

    def lease(self, pulse_id: int, *, data: bytes | None = None, **known: Any) -> PebbleLease:
        loan = self._pebble.claim(pulse_id)
        loan.data[:] = np.frombuffer(data or pixels(pulse_id, self.module_id, self.shape.data_bytes), np.uint8)
        head = FrameHead(pulse_id, pulse_id + 7, 3, 128, self.module_id, 1_000 + pulse_id, expected_packets=128)
        return loan.freeze(head._replace(**known))


class RawBuffer:
    """A detector folder written by plain file calls: every byte is this class's own doing."""

    def __init__(
        self,
        folder: Path,
        modules: Iterable[str] = ("M00", "M01"),
        shape: tuple[int, ...] = (8, 16),
        dtype: str = "uint16",
        packets: int = 128,
        *,
        old_sidecars: bool = False,
    ) -> None:
        self.packets = packets
        self.old_sidecars = old_sidecars
        """Whether sidecars are of version 1."""
        self.folder = folder
        self.modules = tuple(modules)
        self.shape = shape
        self.layout = FrameLayout(shape, dtype)
        self.nbytes = self.layout.data_bytes
        self.record_bytes = 41 + self.nbytes
        folder.mkdir(parents=True)
        text = {"dtype": dtype, "shape": list(shape), "data_bytes": self.nbytes, "modules": list(self.modules)}
        (folder / "detector.json").write_text(json.dumps(text))

    def path(self, module: str, pulse_id: int) -> Path:
        return self.folder / module / str(pulse_id // 100000 * 100000) / f"{pulse_id // 1000 * 1000}.bin"

    def meta(self, module: str, pulse_id: int) -> Path:
        return self.path(module, pulse_id).with_suffix(".meta")

    def put(
        self,
        module: str,
        pulse_id: int,
        *,
        data: bytes | None = None,
        packets: int | None = None,
        missing: bytes = b"",
        sidecar: bool = True,
    ) -> bytes:
        """Write one record (and its sidecar entry) and return its bytes."""
        path = self.path(module, pulse_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        module_id = self.modules.index(module)
        received = self.packets if packets is None else packets
        whole = record(pulse_id, module_id, self.nbytes, packets=received, data=data)
        if not path.exists():
            with path.open("wb") as file:
                file.seek(1000 * self.record_bytes)
                file.write(b"\xff")
        self.poke(path, pulse_id % 1000 * self.record_bytes, whole)
        if sidecar:
            meta = self.meta(module, pulse_id)
            if not meta.exists():
                meta.write_bytes(b"" if self.old_sidecars else struct.pack("<8sII112x", b"PEBMETA\xff", 2, 128))
            times = (1_000 + pulse_id,) if self.old_sidecars else (1_000 + pulse_id, 2_000 + pulse_id)
            rest = (0, crc32c(whole[41:]), self.packets, 3, missing)
            layout = "<QQIIII32s" if self.old_sidecars else "<QQQIIII64s24x"
            self.poke(meta, self.entry_offset(pulse_id), struct.pack(layout, pulse_id, *times, *rest))
        return whole

    def fill(self, pulses: Iterable[int], lacking: Container[tuple[str, int]] = ()) -> Self:
        """Write a record of each module for each of these pulses, but those that are lacking, by module and pulse."""
        for pulse_id in pulses:
            for module in self.modules:
                if (module, pulse_id) not in lacking:
                    self.put(module, pulse_id)
        return self

    def entry_offset(self, pulse_id: int) -> int:
        """Where the sidecar's entry of a pulse lies."""
        return pulse_id % 1000 * 64 if self.old_sidecars else (1 + pulse_id % 1000) * 128

    def claim(self, server: str, *, all_files: bool = True) -> None:
        """Make it the data of a server, by its PV prefix: all of it, or what is written from now on."""
        for module in self.modules:
            folder = self.folder / module
            folder.mkdir(exist_ok=True)
            tree = {"server": server, "inode": folder.stat().st_ino, "all_files": all_files}
            (folder / ".claim.json").write_text(json.dumps(tree))

    def poke(self, path: Path, offset: int, data: bytes) -> None:
        """Overwrite bytes of a file."""
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def frame(self, module: str, pulse_id: int) -> np.ndarray:
        """The pixels that ``put`` writes by default."""
        data = pixels(pulse_id, self.modules.index(module), self.nbytes)
        return self.layout.read(np.frombuffer(data, np.uint8))
