"""A data set that all workers read: each opens it again, by the same paths."""

import socket
from dataclasses import dataclass
from typing import Self

from detectors.buffer.data_set import DataSet, cannot_see
from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError


@dataclass(frozen=True, slots=True)
class SharedData:
    """A data set, and which of its modules the command saw. It can be pickled, which a reader cannot."""

    data_set: DataSet
    seen: frozenset[str]

    @classmethod
    def of(cls, reader: BufferReader) -> Self:
        """Return what a reader reads."""
        data_set = reader.data_set.absolute()
        return cls(data_set, frozenset(name for name, module in data_set.modules.items() if not cannot_see(module)))

    def open(self, *modules: str) -> BufferReader:
        """Return a reader of these modules, of all when none is given; runs on a worker.

        Raises BufferReadError when a module that the command saw cannot be seen here: its frames would be zeros.
        """
        data_set = self.data_set.only(*modules) if modules else self.data_set
        for name, module in data_set.modules.items():
            if name in self.seen and (why := cannot_see(module)):
                raise BufferReadError(f"on {socket.gethostname()}: {why}; mount it on the hosts of all Dask workers")
        return BufferReader(data_set)

    def host(self, *modules: str, turn: int = 0) -> str:
        """Return the host that has most of these modules, by the map; several that have as many take turns."""
        hosts = [self.data_set.modules[module].host for module in modules]
        most = max(map(hosts.count, hosts), default=0)
        best = [host for host in dict.fromkeys(hosts) if hosts.count(host) == most]
        return best[turn % len(best)] if best else ""
