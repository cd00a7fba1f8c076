"""Checks of what several hosts need: that this is the one it is said to be, its control ports, the keys, and the others' names."""

import os
import socket
from collections.abc import Iterator

from detectors.curve import AUTHORIZED, PUBLIC, SERVER, load_client, own_keys, server_secret
from detectors.errors import ConfigError
from detectors.hosts import endpoint
from detectors.worker_names import workers
from detectors.workers.preflight.checks import Finding, Level, Request, check


def _refusal(address: str, port: int) -> str:
    """Return why nothing can listen there; empty when it can."""
    try:
        with socket.create_server((address, port), family=socket.AF_INET):
            return ""
    except OSError as error:
        return os.strerror(error.errno or 0)


@check("host", cheap=True)
def _host(request: Request) -> Iterator[Finding]:
    if request.only:
        return
    for host in request.config.host:
        if host.name == request.host and host.bind != "*":
            refused = _refusal(host.bind, 0)
            yield Finding(
                "host",
                Level.ERROR if refused else Level.OK,
                f"{host.name}: {host.at} is {'not an' if refused else 'an'} address of this machine",
                "correct its address, or run this check on the host itself" if refused else "",
            )


@check("control ports", cheap=True)
def _control_ports(request: Request) -> Iterator[Finding]:
    if request.only or request.host is None:
        return
    found = [place for worker in workers(request.config) if (place := endpoint(request.config, worker))]
    ports = [
        (p.host.bind, port) for p in found if p.host.name == request.host for port in (p.status_port, p.command_port)
    ]
    for address, port in ports:
        if refused := _refusal("" if address == "*" else address, port):
            yield Finding(
                "control ports", Level.ERROR, f"TCP {address}:{port}: {refused}", f"ss -tlpn 'sport = :{port}'"
            )
            return
    if ports:
        yield Finding("control ports", Level.OK, f"TCP {', '.join(str(port) for _, port in ports)} are free")


@check("keys", cheap=True)
def _keys(request: Request) -> Iterator[Finding]:
    control = request.config.control
    if request.only or control is None or not request.config.host:
        return
    folder = control.curve_keys
    if not server_secret(folder).exists():
        yield Finding(
            "keys",
            Level.ERROR,
            f"{folder}: no keys of the hosts",
            f"pebbledaq keys {SERVER} --output {folder}  (once, and copy the folder to every host)",
        )
        return
    try:
        load_client(own_keys(folder))
    except ConfigError as error:
        found, _, remedy = str(error).partition("; ")
        yield Finding("keys", Level.ERROR, found, remedy)
        return
    admitted = folder / AUTHORIZED / f"{SERVER}{PUBLIC}"
    if admitted.exists():
        yield Finding("keys", Level.OK, f"{folder}: a pair, which is authorized")
    else:
        yield Finding(
            "keys",
            Level.ERROR,
            f"{admitted}: missing: the IOC may not command",
            f"cp {folder}/{SERVER}{PUBLIC} {admitted}",
        )


@check("names", cheap=False)
def _names(request: Request) -> Iterator[Finding]:
    for host in request.config.host:
        try:
            address = socket.gethostbyname(host.at)
        except OSError as error:
            yield Finding(
                "names", Level.ERROR, f"{host.at}: {error.strerror}", f"give the address of the host {host.name}"
            )
        else:
            yield Finding("names", Level.OK, f"{host.name} is at {address}")
