"""Which workers of a cluster are on the host that has the pixels. Pure but for ``addresses``.

A worker belongs to host ``daq1`` when it was started with ``--resources "host-daq1=1"``, or when its address is one of the name ``daq1``.
"""

import socket
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

RESOURCE: Final = "host-"
"""Before the name of a host."""


def addresses(host: str) -> set[str]:
    """Return the addresses of a name; none when it has no meaning here."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {str(address[0]) for *_, address in found}


def workers_of(
    hosts: Collection[str],
    workers: Mapping[str, Mapping[str, Any]],
    lookup: Callable[[str], Collection[str]] = addresses,
) -> dict[str, list[str]]:
    """Return the workers on each host, sorted, by their Dask addresses; hosts without one are left out.

    ``workers`` are those that a Dask scheduler knows, with ``host``, an address, and ``resources``.
    """
    found: dict[str, list[str]] = {}
    for host in hosts:
        known = lookup(host)
        there = sorted(
            address
            for address, worker in workers.items()
            if RESOURCE + host in worker.get("resources", {}) or worker.get("host") in known
        )
        if there:
            found[host] = there
    return found
