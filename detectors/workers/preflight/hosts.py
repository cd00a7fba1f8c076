"""Checks of what several hosts need: that this is the one it is said to be, its control ports, the keys, and the others' names."""

import os
import socket
from collections.abc import Iterator

from detectors.curve import AUTHORIZED, PUBLIC, SERVER, load_client, own_keys, server_secret
from detectors.errors import ConfigError
from detectors.hosts import endpoint
from detectors.worker_names import workers
from detectors.workers.preflight.checks import Finding, Level, Request, error, judged, ok


def _refusal(address: str, port: int) -> str:
    """Return why nothing can listen there; empty when it can."""
    try:
        with socket.create_server((address, port), family=socket.AF_INET):
            return ""
    except OSError as error:
        return os.strerror(error.errno or 0)


def check_host_address(request: Request) -> Iterator[Finding]:
    """Check that this machine has the address of its [[host]]."""
    if request.only:
        return
    for host in request.config.host:
        if host.name == request.host and host.bind != "*":
            own = not _refusal(host.bind, 0)
            found = f"{host.name}: {host.at} is {'an' if own else 'not an'} address of this machine"
            yield judged(own, found, "correct its address, or run this check on the host itself", bad=Level.ERROR)


def check_control_ports(request: Request) -> Iterator[Finding]:
    """Check that the control ports of this host's workers are free."""
    if request.only or request.host is None:
        return
    found = [place for worker in workers(request.config) if (place := endpoint(request.config, worker))]
    ports = [
        (p.host.bind, port) for p in found if p.host.name == request.host for port in (p.status_port, p.command_port)
    ]
    for address, port in ports:
        if refused := _refusal("" if address == "*" else address, port):
            yield error(f"TCP {address}:{port}: {refused}", f"ss -tlpn 'sport = :{port}'")
            return
    if ports:
        yield ok(f"TCP {', '.join(str(port) for _, port in ports)} are free")


def check_keys(request: Request) -> Iterator[Finding]:
    """Check that the keys of the hosts are there, and let the IOC in."""
    control = request.config.control
    if request.only or control is None or not request.config.host:
        return
    folder = control.curve_keys
    if not server_secret(folder).exists():
        remedy = f"pebbledaq keys {SERVER} --output {folder}  (once, and copy the folder to every host)"
        yield error(f"{folder}: no keys of the hosts", remedy)
        return
    try:
        load_client(own_keys(folder))
    except ConfigError as refused:
        found, _, remedy = str(refused).partition("; ")
        yield error(found, remedy)
        return
    admitted = folder / AUTHORIZED / f"{SERVER}{PUBLIC}"
    if admitted.exists():
        yield ok(f"{folder}: a pair, which is authorized")
    else:
        yield error(f"{admitted}: missing: the IOC may not command", f"cp {folder}/{SERVER}{PUBLIC} {admitted}")


def check_names(request: Request) -> Iterator[Finding]:
    """Check that this host resolves the names of all."""
    for host in request.config.host:
        try:
            yield ok(f"{host.name} is at {socket.gethostbyname(host.at)}")
        except OSError as refused:
            yield error(f"{host.at}: {refused.strerror}", f"give the address of the host {host.name}")
