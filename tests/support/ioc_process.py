"""An IOC in a process of its own, and clients that meet it and nobody else."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pytest
from p4p.client.thread import Context, RemoteError

from detectors.runtime_names import RuntimeNames
from detectors.workers.commands import request
from tests.support.epics_env import epics_variables
from tests.support.process import ANSWER_S, Process
from tests.support.waiting import until


class IocProcess(Process):
    """Context manager. ``command`` is run with EPICS on ports of its own and must print READY."""

    def __init__(self, prefix: str, *command: str, variables: Mapping[str, str] | None = None) -> None:
        self.prefix = prefix
        self.runtime = RuntimeNames(prefix)
        self.variables = dict(variables or epics_variables())
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("EPICS_", "CAPROTO_"))}
        self.environment = inherited | self.variables
        self._pva: Context | None = None
        super().__init__(*command, environment=self.environment)

    def __enter__(self) -> Self:
        return self.ready()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal unless it has ended, and return the exit code."""
        self.close_clients()
        return self.end(number)

    def stop_clean(self) -> None:
        """Stop it; it must end well and leave nothing behind."""
        assert self.stop() == 0
        assert self.leftovers() == []

    def close_clients(self) -> None:
        if self._pva is not None:
            self._pva.close()
            self._pva = None

    @property
    def pva(self) -> Context:
        if self._pva is None:
            self._pva = Context("pva", conf=self.variables, useenv=False, nt=False)
        return self._pva

    def value(self, name: str) -> Any:
        """The value of a record over PVA; an enum as its text."""
        value = self.pva.get(self.prefix + name, timeout=10.0).value
        return value.choices[value.index] if hasattr(value, "choices") and value.index < len(value.choices) else value

    def severity(self, name: str) -> int:
        return self.pva.get(self.prefix + name, timeout=10.0).alarm.severity

    def put(self, name: str, value: Any, *, wait: bool = True) -> None:
        self.pva.put(self.prefix + name, value, wait=wait, timeout=20.0)

    def refused(self, name: str, value: Any) -> str:
        """Put a value that must be refused: the client gets an error, the setpoint an alarm. Return the reason."""
        with pytest.raises(RemoteError, match=r"^Error in dbNotify$"):
            self.put(name, value)
        assert self.severity(name) == 1
        return self.until("Message_RBV", lambda text: text.startswith(f"{name}: ")).removeprefix(f"{name}: ")

    def until(self, name: str, good: Any) -> Any:
        """Wait until a record has a value, or one that a predicate takes."""
        return until(lambda: self.value(name), good if callable(good) else lambda v: v == good)

    def ask(self, worker: str, command: str, **arguments: Any) -> Any:
        """Command a worker past the IOC."""
        return request(self.runtime.command(worker), command, timeout_s=ANSWER_S, **arguments)

    def python(self, script: str) -> str:
        """What a client script prints that runs with this IOC's environment; ``P`` is the prefix."""
        return self._output("-c", f"P = {self.prefix!r}\n{script}")

    def caproto(self, verb: str, *words: str) -> str:
        """What caproto's command line tool prints; it must leave no repeater behind."""
        return self._output("-m", f"caproto.commandline.{verb}", "--no-repeater", "--terse", *words)

    def _output(self, *arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def leftovers(self) -> list[str]:
        """What of this prefix is left in the system."""
        return leftovers(self.prefix)


def leftovers(prefix: str) -> list[str]:
    """Sockets, locks, shared memory and processes of a prefix; what is being looked for must be gone."""
    runtime = RuntimeNames(prefix)
    shared = [str(path) for path in runtime.shm("x").parent.glob(f"*{runtime.key}*")]
    files = [str(path) for path in runtime.folder.glob("*")]
    return shared + files + [f"process {pid}" for pid in worker_processes(prefix)]


def worker_processes(prefix: str) -> list[int]:
    """Processes whose command line names a prefix, as the fake workers' do; zombies have none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if prefix in words:
            found.append(int(path.parent.name))
    return found
