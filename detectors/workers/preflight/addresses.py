"""The addresses that a configuration listens on, and who can reach them."""

import os
from collections.abc import Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address
from typing import Final, NamedTuple

from detectors.config import Config
from detectors.hosts import endpoint
from detectors.interfaces import interfaces
from detectors.outputs.outputs import stream_address
from detectors.parts import parts
from detectors.worker_names import workers
from detectors.workers.preflight.checks import Finding, Request, ok

_EVERYWHERE: Final = ("", "*", "0.0.0.0")  # noqa: S104


class EpicsServer(NamedTuple):
    """A server of EPICS and the environment variables that place it."""

    protocol: str
    port_variables: tuple[str, ...]
    default_port: int
    interfaces_variable: str

    def port(self, environment: Mapping[str, str]) -> int:
        """Return the TCP port that it takes when it is free."""
        found = (environment.get(name, "") for name in self.port_variables)
        return next((int(value) for value in found if value.isdigit()), self.default_port)


EPICS_SERVERS: Final = (
    EpicsServer("CA", ("EPICS_CAS_SERVER_PORT", "EPICS_CA_SERVER_PORT"), 5064, "EPICS_CAS_INTF_ADDR_LIST"),
    EpicsServer("PVA", ("EPICS_PVAS_SERVER_PORT", "EPICS_PVA_SERVER_PORT"), 5075, "EPICS_PVAS_INTF_ADDR_LIST"),
)


def check_addresses(request: Request) -> Iterator[Finding]:
    """List what this host listens on."""
    for name, address, port in listening(request.config, os.environ, request.host):
        yield ok(f"{name}: {address or '*'}:{port or 'any free port'}: {who_reaches(address)}")
    folder = request.config.runtime_names.folder
    yield ok(f"commands, snapshots: {folder}: this account only")


def listening(
    config: Config, environment: Mapping[str, str], host: str | None = None
) -> Iterator[tuple[str, str, int]]:
    """Yield (name, address, port) of each address on a network that what runs on ``host`` listens on; an empty one is all of them.

    Without ``host`` it is the IOC's.
    """
    shows_images = config.images is not None and config.images.host == host
    for server in EPICS_SERVERS:
        chosen = [*map(str, config.ioc.interfaces)] or environment.get(server.interfaces_variable, "").split() or [""]
        for entry in chosen:
            address, _, port = entry.partition(":")
            if host is None:
                yield f"{server.protocol} records", address, int(port or server.port(environment))
            if server.protocol == "PVA" and config.images and shows_images:
                yield "PVA images", address, config.images.port or 0
            if server.protocol == "PVA" and config.process and config.process.host == host:
                yield "PVA results", address, config.process.port or 0
    if config.web and config.web.host == host:
        yield "web page", str(config.web.address), config.web.port
    modules = [module for module in config.udp if module.host == host]
    cameras = [camera for camera in config.pva if camera.host == host]
    for module in modules:
        yield f"{module.name} packets", module.address, module.port
    if config.timing and (cameras or host is None):
        yield "timing", config.timing.address, config.timing.port
    streams = [(s.name, stream_address(config, s)) for s in (*modules, *cameras)]
    if config.stream and config.stream.host == host:
        streams += [(name, getattr(config.stream, name)) for name in ("full", "reduced", "pulse")]
    streams += [(f"{p.host.name} {name} part", where) for p in parts(config) for name, where in p.bound.items()]
    for name, where in streams:
        if where.startswith("tcp://"):
            address, _, port = where.removeprefix("tcp://").rpartition(":")
            yield f"{name} stream", address, int(port) if port.isdigit() else 0
    for worker in workers(config) if host else ():
        if (found := endpoint(config, worker)) and found.host.name == host:
            yield f"{worker} snapshots", found.host.bind, found.status_port
            yield f"{worker} commands", found.host.bind, found.command_port


def who_reaches(address: str) -> str:
    """Return who can reach an address that this host listens on, in words."""
    own = interfaces()
    if address in _EVERYWHERE:
        outside = [f"{name} ({found})" for name, found in own.items() if not found.is_loopback]
        return f"everyone who can reach {', '.join(outside)}" if outside else "this host only"
    try:
        found = IPv4Address("127.0.0.1" if address == "localhost" else address)
    except AddressValueError:
        return (
            f"everyone who can reach {address} ({own[address]})" if address in own else f"{address} is not known here"
        )
    if found.is_loopback:
        return "this host only"
    if found.is_multicast:
        return "everyone whose packets to this group reach this host"
    names = [f"{name} ({interface})" for name, interface in own.items() if interface.ip == found]
    return f"everyone who can reach {names[0]}" if names else "no interface of this host has this address"
