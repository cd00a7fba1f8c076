"""A buffer whose modules lie on several hosts: folders stand for their disks."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.buffer.make import RawBuffer

SHAPE = (8, 16)


class Spread:
    """A detector JF with the modules of ``hosts``, in their order, and ``map``, which says where each is."""

    def __init__(self, folder: Path, hosts: Mapping[str, Iterable[str]], pulses: Iterable[int]) -> None:
        self.hosts = {host: tuple(modules) for host, modules in hosts.items()}
        self.modules = tuple(module for modules in self.hosts.values() for module in modules)
        self._net = folder / "net"
        self._buffers: dict[str, RawBuffer] = {}
        for host, modules in self.hosts.items():
            # Each knows all modules: a module_id is the place of its module in the whole detector.
            raw = RawBuffer(self.root(host) / "JF", self.modules, SHAPE)
            self._only(raw, modules)
            for module in modules:
                self._buffers[module] = raw
                for pulse_id in pulses:
                    raw.put(module, pulse_id)
        self.map = self._net / "jf.json"
        modules = [
            {"name": module, "host": host, "folder": str(self.folder(module))}
            for host, names in self.hosts.items()
            for module in names
        ]
        frames = {"dtype": "uint16", "shape": list(SHAPE), "data_bytes": 256}
        self.map.write_text(json.dumps({"format": 1, "detectors": [{"name": "JF", **frames, "modules": modules}]}))

    def root(self, host: str) -> Path:
        """Where the disk of a host is seen."""
        return self._net / host

    def folder(self, module: str) -> Path:
        """The folder of a module."""
        return next(self.root(host) / "JF" / module for host, names in self.hosts.items() if module in names)

    def buffer(self, module: str) -> RawBuffer:
        """The buffer of a module's host."""
        return self._buffers[module]

    def unmount(self, host: str) -> None:
        """Let nothing be where the host's disk was."""
        self.root(host).rename(self._net / f".{host}")

    def mount(self, host: str) -> None:
        """Let it be there again."""
        (self._net / f".{host}").rename(self.root(host))

    def change(self, how: Callable[[Any], object]) -> None:
        """Change the map."""
        tree = json.loads(self.map.read_text())
        how(tree)
        self.map.write_text(json.dumps(tree))

    def frame(self, module: str, pulse_id: int) -> np.ndarray:
        """The pixels of a module."""
        return self._buffers[module].frame(module, pulse_id)

    def image(self, pulse_id: int, without: Iterable[str] = ()) -> np.ndarray:
        """The pixels of all modules, zeros for some."""
        zeros = np.zeros(SHAPE, np.uint16)
        return np.vstack([zeros if m in without else self.frame(m, pulse_id) for m in self.modules])

    @staticmethod
    def _only(raw: RawBuffer, modules: Iterable[str]) -> None:
        path = raw.folder / "detector.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "modules": list(modules)}))
