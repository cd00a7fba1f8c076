"""Where the workers of a configuration run, and how they are reached there. Pure."""

from pathlib import Path
from typing import Final, NamedTuple

from detectors.config import Config, HostSection
from detectors.errors import ConfigError
from detectors.worker_names import KEEPER, workers

PORTS: Final = 2
"""Control ports of a worker: its snapshots, and its commands."""


_LAST_PORT: Final = 65_535


class Endpoint(NamedTuple):
    """Where a worker on another host is commanded and heard."""

    host: HostSection
    status_port: int
    command_port: int
    keys: Path
    """Folder of the CURVE keys of both sides."""

    @property
    def status(self) -> str:
        """ZMQ address of its snapshots."""
        return f"tcp://{self.host.at}:{self.status_port}"

    @property
    def command(self) -> str:
        """ZMQ address of its commands."""
        return f"tcp://{self.host.at}:{self.command_port}"


def host_of(config: Config, worker: str) -> HostSection | None:
    """Return the host that a worker belongs to; None: that of the IOC."""
    source = workers(config)[worker]
    if source is not None:
        return config.host_of(source)
    kind, _, name = worker.partition(".")
    if kind == KEEPER:
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
    if base > (most := _LAST_PORT + 1 - PORTS * len(names)):
        raise ConfigError(
            f"control.port_base: found {base}, expected at most {most}: {len(names)} workers have two ports each"
        )
    port = base + PORTS * names.index(worker)
    return Endpoint(host, port, port + 1, config.control.curve_keys)
