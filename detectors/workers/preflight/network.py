"""Checks of what packets come in by: receive buffers, MTU, ports."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from detectors.pools.socket_ring import SocketRing
from detectors.wire.headers import HEADERS
from detectors.workers.preflight.checks import Finding, Request, error, ok, warning

IP_AND_UDP_HEADERS: Final = 28
"""IPv4 and UDP headers of a datagram, bytes."""


def granted_receive_buffer(count: int, size: int) -> int:
    """Return the bytes of socket buffer that the kernel grants to a ring of ``count`` x ``size`` bytes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return SocketRing(probe, count, size).granted_bytes


def check_receive_buffer(request: Request) -> Iterator[Finding]:
    """Check that the kernel grants each module its ring."""
    for module in request.modules:
        dma = request.config.dma_of(module)
        asked = dma.cfg_rx_count * int(dma.cfg_size)
        got = granted_receive_buffer(dma.cfg_rx_count, int(dma.cfg_size))
        found = f"{module.name}: asked {asked} bytes, got {got}"
        if got >= asked:
            yield ok(found)
        else:
            frames = got // module.geometry.frame_bytes
            remedy = f"sysctl -w net.core.rmem_max={asked}  (or give the process CAP_NET_ADMIN)"
            yield (warning if frames else error)(f"{found}: room for {frames} frame(s)", remedy)


def _interfaces(address: str) -> Iterator[tuple[str, int]]:
    """Yield (name, MTU) of the interfaces that packets for ``address`` can come in by."""
    loopback = address.startswith("127.")
    for folder in sorted(Path("/sys/class/net").iterdir()):
        with suppress(OSError, ValueError):
            up = (folder / "operstate").read_text().strip() in ("up", "unknown")
            if up and (folder.name == "lo") == loopback:
                yield folder.name, int((folder / "mtu").read_text())


def check_mtu(request: Request) -> Iterator[Finding]:
    """Check that packets come in one piece."""
    for address in sorted({m.address for m in request.modules}):
        packet = max(
            HEADERS[m.geometry.header].itemsize + m.geometry.packet_data_bytes
            for m in request.modules
            if m.address == address
        )
        needed = packet + IP_AND_UDP_HEADERS
        interfaces = list(_interfaces(address))
        small = [(name, mtu) for name, mtu in interfaces if mtu < needed]
        if interfaces and len(small) < len(interfaces):
            found = ", ".join(f"{name} {mtu}" for name, mtu in interfaces)
            yield ok(f"{address}: {found} (packets need {needed})")
        else:
            for name, mtu in small:
                yield warning(f"{name} has {mtu}, packets need {needed}", f"ip link set dev {name} mtu 9000")


def check_ports(request: Request) -> Iterator[Finding]:
    """Check that the ports of the modules and of the timing are free."""
    config = request.config
    wanted = [(m.name, m.address, m.port) for m in request.modules]
    if config.timing and len(request.modules) < len(request.sources):
        wanted.append(("timing", config.timing.address, config.timing.port))
    for name, address, port in wanted:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, port))
            except OSError as refused:
                yield error(f"{name}: UDP {address}:{port}: {refused.strerror}", f"ss -ulpn 'sport = :{port}'")
            else:
                yield ok(f"{name}: UDP {address}:{port} is free")
