"""The demo's child processes: started, their output read, and ended in any case."""

import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any, Final

from detectors.errors import HostError

_LAST_LINES: Final = 12
_END_S: Final = 5.0
"""A child that does not end so long after SIGTERM is killed, s."""
_PORTS: Final = range(24_000, 32_000)
"""Below those that the kernel gives to clients (net.ipv4.ip_local_port_range, from 32768): no connection takes one before it is bound."""


class Child:
    """One ``python -m ioc ...``, in a process group of its own: Ctrl-C reaches the demo alone, which then ends it."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._report: dict[str, Any] | None = None
        self._ready: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._asked = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ioc", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            text=True,
            errors="replace",
            process_group=0,
        )
        self._listener = threading.Thread(target=self._listen, name=f"listen {name}", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_ready(self, deadline_s: float) -> str:
        """Return its READY line. ``deadline_s`` is monotonic. Raises HostError with its last output."""
        try:
            line = self._ready.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            raise self._error("was not ready in time") from None
        if line is None:
            raise self._error("ended before it was ready")
        return line

    def write_line(self, line: str) -> None:
        """Write one line to its input. Raises HostError when it has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._error("ended too early") from None

    def check(self) -> None:
        """Raise HostError when it has ended."""
        if not self.running:
            raise self._error("ended by itself")

    def ask_to_end(self) -> None:
        """Send SIGTERM, once: a second one would find a process that has removed its handlers."""
        if self._asked:
            return
        self._asked = True
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and wait for its end."""
        self._process.kill()
        self.end()

    def wait(self, timeout_s: float) -> int | None:
        """Return its exit code, or None when it still runs after so long."""
        try:
            code = self._process.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            return None
        self._listener.join(_END_S)
        return code

    def end(self) -> int:
        """End it, with SIGKILL if necessary; return its exit code."""
        if self.running:
            self.ask_to_end()
            if self.wait(_END_S) is None:
                self._process.kill()
        code = self._process.wait()
        self._listener.join(_END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()
        return code

    def report(self) -> dict[str, Any]:
        """Return the report that a source prints at its end. Raises HostError when there is none."""
        if self._report is None:
            raise self._error("gave no report")
        return self._report

    def _error(self, what: str) -> HostError:
        said = "".join(f"\n  {self.name}: {line}" for line in self.lines)
        return HostError(f"{self.name} {what}" + (f"; it said:{said}" if said else "; it said nothing"))

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError):  # closed under us, by end()
            for line in self._process.stdout:
                text = line.rstrip()
                if text.startswith("READY"):
                    self._ready.put(text)
                elif text.startswith("{"):
                    with suppress(json.JSONDecodeError):
                        self._report = json.loads(text)
                elif text:
                    self.lines.append(text)
        self._ready.put(None)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that are free for TCP and UDP, all different."""
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.sample(_PORTS, len(_PORTS)):
            if len(ports) == count:
                break
            tcp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            udp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
                ports.append(port)
    return ports


def epics_environment(ca: int, repeater: int, pva: int, search: int, camera_search: int) -> dict[str, str]:
    """Return the variables that keep servers and clients on these ports of the loopback.

    The camera answers searches on a port of its own: two servers on one would depend on the kernel for who gets them.
    """
    local = "127.0.0.1"
    return {
        "EPICS_CA_ADDR_LIST": local,
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(ca),
        "EPICS_CA_REPEATER_PORT": str(repeater),
        "EPICS_CAS_INTF_ADDR_LIST": local,
        "EPICS_CAS_BEACON_ADDR_LIST": local,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_PVA_ADDR_LIST": f"{local}:{search} {local}:{camera_search}",
        "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_BROADCAST_PORT": str(search),
        "EPICS_PVAS_INTF_ADDR_LIST": local,
        "EPICS_PVAS_BEACON_ADDR_LIST": local,
        "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_PVAS_SERVER_PORT": str(pva),
        "EPICS_PVAS_BROADCAST_PORT": str(search),
    }


def clean_environment() -> dict[str, str]:
    """Return our environment without its EPICS variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("EPICS")}
