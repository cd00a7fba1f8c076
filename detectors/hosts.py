"""Where the workers of a configuration run, and how they are reached there. Pure."""

from pathlib import Path
from typing import Final, NamedTuple

from detectors.config import Config, HostSection
from detectors.curve import CurveKeys, own_keys
from detectors.errors import ConfigError
from detectors.worker_names import KEEPER, PARTS, workers

_CONTROL_PORTS: Final = 2
"""Control ports of a worker: its snapshots, and its commands."""


_LAST_PORT: Final = 65_535


class Reach(NamedTuple):
    """How a client reaches a worker."""

    status: str
    """ZMQ address of its snapshots."""
    command: str
    """ZMQ address of its commands."""
    keys: CurveKeys | None
    """What both need; None on the worker's own host."""


class Endpoint(NamedTuple):
    """Where a worker that has a host is heard and commanded over the network."""

    host: HostSection
    status_port: int
    command_port: int
    keys: Path
    """Folder of the CURVE keys of both sides."""


def host_of(config: Config, worker: str) -> HostSection | None:
    """Return the host that a worker belongs to; None: that of the IOC."""
    source = workers(config)[worker]
    if source is not None:
        return config.host_of(source)
    kind, _, name = worker.partition(".")
    if kind in (KEEPER, PARTS):
        return next(host for host in config.host if host.name == name)
    return config.host_of(getattr(config, kind))


def endpoint(config: Config, worker: str) -> Endpoint | None:
    """Return where a worker is reached over the network; None for one of the IOC's own host.

    Raises ConfigError when there are not enough ports above control.port_base.
    """
    host = host_of(config, worker)
    if host is None:
        return None
    assert config.control  # the configuration was checked
    names, base = list(workers(config)), config.control.port_base
    if base > (most := _LAST_PORT + 1 - _CONTROL_PORTS * len(names)):
        raise ConfigError(
            f"control.port_base: found {base}, expected at most {most}: {len(names)} workers have two ports each"
        )
    port = base + _CONTROL_PORTS * names.index(worker)
    return Endpoint(host, port, port + 1, config.control.curve_keys)


def reach(config: Config, worker: str) -> Reach:
    """Return how the IOC reaches a worker: over ipc on its own host, over tcp where the worker has a host.

    Raises ConfigError as ``endpoint`` does.
    """
    found = endpoint(config, worker)
    if found is None:
        names = config.runtime_names
        return Reach(names.status(worker), names.command(worker), None)
    status, command = (f"tcp://{found.host.at}:{port}" for port in (found.status_port, found.command_port))
    return Reach(status, command, own_keys(found.keys))
