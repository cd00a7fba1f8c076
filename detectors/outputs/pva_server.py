"""A PVA server of a worker, beside others on the same host: what servers of images and of results have in common."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from detectors.errors import HostError


class PvaServer:
    """Serves the PVs of a provider of p4p; ``name`` is for messages. Raises HostError when it cannot serve there.

    It shares the UDP port of searches with other servers of this host, and has a TCP port of its own.
    """

    def __init__(self, name: str, provider: Any, interfaces: Iterable[str], port: int | None) -> None:
        from p4p.server import Server

        self._provider = provider
        try:
            self._server = Server([provider], conf=server_conf(interfaces, port, os.environ), useenv=False)
        except RuntimeError as error:
            raise HostError(f"{name}: cannot serve PVA: {error}; choose other interfaces, or another port") from None

    @property
    def port(self) -> int:
        """TCP port that it listens on."""
        return int(self._server.conf()["EPICS_PVAS_SERVER_PORT"])

    def close(self) -> None:
        """Disconnect all clients."""
        self._server.stop()


def server_conf(interfaces: Iterable[str], port: int | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Return p4p's configuration of a server that is beside another on the same host, with the rest from the environment.

    p4p would join the two, and take the port of the environment, which is the IOC's.
    """
    conf = {name: value for name, value in environment.items() if name.startswith("EPICS_PVA")}
    chosen = [*interfaces] or [entry.partition(":")[0] for entry in conf.get("EPICS_PVAS_INTF_ADDR_LIST", "").split()]
    conf.pop("EPICS_PVA_SERVER_PORT", None)
    return {**conf, "EPICS_PVAS_SERVER_PORT": str(port or 0), "EPICS_PVAS_INTF_ADDR_LIST": " ".join(chosen)}
