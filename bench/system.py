"""A whole server with simulated modules, for benchmarks that are clients of it."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from p4p.client.thread import Context

from ioc.demo.children import Child, clean_environment, epics_environment, free_ports

PREFIX = "BENCH:"


class System:
    """A server, and its modules that send without an end. Context manager.

    ``tables`` are those of the configuration beside the modules and what every benchmark has.
    """

    def __init__(self, folder: Path, tables: str, *, geometry: str, rate_hz: int, modules: int = 1) -> None:
        self.folder = folder
        self._geometry, self._rate_hz = geometry, rate_hz
        ca, repeater, pva, search, camera, *self._ports = free_ports(5 + modules)
        self.config = folder / "bench.toml"
        sources = "".join(
            f'[[udp]]\nname = "M{number:02}"\nport = {port}\naddress = "127.0.0.1"\ngeometry = "{geometry}"\n'
            'pulse_from = "bunchid"\n'
            for number, port in enumerate(self._ports)
        )
        self.config.write_text(
            f'[detector]\nname = "BENCH"\nprefix = "{PREFIX}"\n[ioc]\nautosave = false\n{sources}{tables}'
        )
        self.environment = clean_environment() | epics_environment(ca, repeater, pva, search, camera)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            server = Child("server", ["run", str(self.config)], self.environment)
            stack.callback(server.end)
            server.wait_ready(time.monotonic() + 60)
            variables = {name: value for name, value in self.environment.items() if name.startswith("EPICS_")}
            self._pva = Context("pva", conf=variables, useenv=False, nt=False)
            stack.callback(self._pva.close)
            pace = ["--rate", str(self._rate_hz), "--seconds", "600", "--geometry", self._geometry]
            epoch = ["--epoch-ns", str(time.time_ns() + 3_000_000_000)]
            for number, port in enumerate(self._ports):
                self.until(f"M{number:02}:State_RBV", "Idle")
                words = ["sim", "udp", f"127.0.0.1:{port}", *pace, *epoch, "--module-id", str(number)]
                module = Child(f"M{number:02}", words, self.environment)
                stack.callback(module.end)
                module.wait_ready(time.monotonic() + 60)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def value(self, name: str) -> Any:
        found = self._pva.get(PREFIX + name, timeout=20.0).value
        return found.choices[found.index] if hasattr(found, "choices") else found

    def put(self, name: str, value: Any, *, wait: bool = True) -> None:
        self._pva.put(PREFIX + name, value, wait=wait, timeout=60.0)

    def until(self, name: str, wanted: Any) -> None:
        end_s = time.monotonic() + 60
        while (found := self.value(name)) != wanted:
            assert time.monotonic() < end_s, f"{name} is {found}, expected {wanted}"
            time.sleep(0.02)
