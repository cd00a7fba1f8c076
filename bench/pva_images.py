"""The processes that send images, seen from the one that measures."""

import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from ioc.demo.children import clean_environment, epics_environment, free_ports


def own_environment() -> dict[str, str]:
    """Return this process's environment with an EPICS of its own; servers are found by ``served_at`` only."""
    return clean_environment() | epics_environment(*free_ports(5))


def served_at(environment: Mapping[str, str], ports: list[int]) -> dict[str, str]:
    """Return the environment of a client of servers on these ports.

    It asks for no echo while a benchmark lasts: the source would answer in the middle of an image.
    """
    servers = " ".join(f"127.0.0.1:{port}" for port in ports)
    return {
        **environment,
        "EPICS_PVA_NAME_SERVERS": servers,
        "EPICS_PVA_ADDR_LIST": "",
        "EPICS_PVA_CONN_TMO": "3600",
    }


class Source:
    """``bench.pva_source`` in a process: "raw", or "pva" with one PV. Context manager.

    ``prepare(n)`` takes effect once a client is there; ``go`` sends the n images, ``sent`` waits until that is done.
    """

    def __init__(self, mode: str, pv: str, nbytes: int, environment: Mapping[str, str]) -> None:
        (self.port,) = free_ports(1)
        self.pv = pv
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.pva_source", mode, pv, str(nbytes)],
            env={**environment, "EPICS_PVA_SERVER_PORT": str(self.port)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> Self:
        """Wait until it listens."""
        self._expect("READY")
        return self

    def prepare(self, count: int) -> None:
        self._say(str(count))
        self._expect("PREPARED")

    def go(self) -> None:
        self._say("")

    def sent(self) -> None:
        self._expect("SENT")

    def _say(self, text: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def _expect(self, word: str) -> None:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line == word + "\n", f"the source said {line!r}, expected {word}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
