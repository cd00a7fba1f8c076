"""Messages to a service manager: a process is ready, alive and stopping. Source: sd_notify(3).

Nothing is sent, and nothing needed, where there is none: the manager names a socket in ``NOTIFY_SOCKET``.
"""

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Self


class ServiceNotifier:
    """Sends to the service manager. Made with ``take`` once in a process, before it starts others."""

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        # "@" stands for an abstract socket, whose name begins with a zero byte.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._period_s = watchdog_s / 2
        self._alive_at_s = 0.0

    @classmethod
    def take(cls, environment: MutableMapping[str, str] = os.environ) -> Self:
        """Return what the environment names, and remove it there: processes that this one starts are not the service."""
        address, pid, period_us = (
            environment.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
        )
        watched = period_us.isdigit() and pid in ("", str(os.getpid()))
        return cls(address, int(period_us) / 1e6 if watched else 0.0)

    def ready(self) -> None:
        """Say that the start is over."""
        self._send("READY=1")

    def alive(self) -> None:
        """Say that it works; to be called again and again by the thread that does the work. Sends at half the watchdog's time."""
        if self._period_s and (now_s := time.monotonic()) >= self._alive_at_s:
            self._alive_at_s = now_s + self._period_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that it ends."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # Never waits: a manager that does not listen must not hold up data.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)
            out.sendto(message.encode(), self._address)
