"""A whole server, with simulated modules or without, for benchmarks that are clients of it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from p4p.client.thread import Context

from detectors.runtime_names import COUNTERS_VARIABLE
from ioc.demo.children import Child, clean_environment, epics_environment, free_ports

PREFIX = "BENCH:"
START_S = 60


class Server:
    """A server, which starts its workers, and a client of it. Context manager.

    ``tables`` are those of the configuration beside what every benchmark has.
    """

    def __init__(self, folder: Path, tables: str) -> None:
        self.folder = folder
        self.environment = clean_environment() | epics_environment(*free_ports(5)) | {COUNTERS_VARIABLE: str(folder)}
        self.config = folder / "bench.toml"
        self.config.write_text(f'[detector]\nname = "BENCH"\nprefix = "{PREFIX}"\n[ioc]\nautosave = false\n{tables}')
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._server = Child("server", ["run", str(self.config)], self.environment)
            stack.callback(self._server.end)
            self._server.wait_ready(time.monotonic() + START_S)
            variables = {name: value for name, value in self.environment.items() if name.startswith("EPICS_")}
            self._pva = Context("pva", conf=variables, useenv=False, nt=False)
            stack.callback(self._pva.close)
            self.start_more(stack)
            self._stack = stack.pop_all()
        return self

    def start_more(self, stack: ExitStack) -> None:
        """Start what else belongs to it."""

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def pid(self) -> int:
        """Process id of the IOC."""
        return self._server.pid

    def value(self, name: str) -> Any:
        found = self._pva.get(PREFIX + name, timeout=20.0).value
        return found.choices[found.index] if hasattr(found, "choices") else found

    def put(self, name: str, value: Any, *, wait: bool = True) -> None:
        self._pva.put(PREFIX + name, value, wait=wait, timeout=60.0)

    def until(self, name: str, wanted: Any) -> None:
        end_s = time.monotonic() + START_S
        while (found := self.value(name)) != wanted:
            assert time.monotonic() < end_s, f"{name} is {found}, expected {wanted}"
            time.sleep(0.02)

    def subscribe(self, name: str, take: Callable[[Any], None]) -> None:
        """Call ``take`` with each update of a record, in a thread of the client, until the end."""
        self._stack.callback(self._pva.monitor(PREFIX + name, take).close)


class System(Server):
    """A server whose modules, ``M00`` and so on, send without an end, each from a process of its own."""

    def __init__(self, folder: Path, tables: str, *, geometry: str, rate_hz: int, modules: int = 1) -> None:
        self._geometry, self._rate_hz = geometry, rate_hz
        self._ports = free_ports(modules)
        sources = "".join(
            f'[[udp]]\nname = "M{number:02}"\nport = {port}\naddress = "127.0.0.1"\ngeometry = "{geometry}"\n'
            'pulse_from = "bunchid"\n'
            for number, port in enumerate(self._ports)
        )
        super().__init__(folder, sources + tables)

    def start_more(self, stack: ExitStack) -> None:
        pace = ["--rate", str(self._rate_hz), "--seconds", "600", "--geometry", self._geometry]
        epoch = ["--epoch-ns", str(time.time_ns() + 3_000_000_000)]
        for number, port in enumerate(self._ports):
            self.until(f"M{number:02}:State_RBV", "Idle")
            words = ["sim", "udp", f"127.0.0.1:{port}", *pace, *epoch, "--module-id", str(number)]
            module = Child(f"M{number:02}", words, self.environment)
            stack.callback(module.end)
            module.wait_ready(time.monotonic() + START_S)
