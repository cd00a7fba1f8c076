"""Checks across the sections of the configuration. Each mistake is one line that starts with its place."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address

from detectors.config.sections import PvaSection, TimingSection, UdpSection


def disagreements(udp: Sequence[UdpSection], pva: Sequence[PvaSection], timing: TimingSection | None) -> Iterator[str]:
    """Yield what does not agree between the sources, and between them and the timing stream."""
    names = [source.name for source in (*udp, *pva)]
    places = [*(f"udp[{i}]" for i in range(len(udp))), *(f"pva[{i}]" for i in range(len(pva)))]
    if not names:
        yield "udp, pva: found no source, expected at least one [[udp]] or [[pva]] table"
    # Whatever their case: names that differ in nothing else are too easily confused.
    for i, first in _repeated(name.upper() for name in names):
        yield f"{places[i]}.name: {names[i]!r} is also the name of {places[first]}; give each source its own"
    for i, first in _repeated(module.port for module in udp):
        yield f"udp[{i}].port: {udp[i].port} is also the port of udp[{first}]; give each its own"
    for i, first in _repeated(module.module_id for module in udp):
        yield f"udp[{i}].module_id: {udp[i].module_id} is also that of udp[{first}]; give each its own"
    for i, module in enumerate(udp):
        one, other = module.geometry, udp[0].geometry
        if (one.frame_bytes, one.dtype) != (other.frame_bytes, other.dtype):
            yield f"udp[{i}].geometry: differs from udp[0].geometry, but the modules of one detector are alike"
    if timing is None:
        return
    ports = [module.port for module in udp]
    if timing.port in ports:
        yield f"timing.port: {timing.port} is also the port of udp[{ports.index(timing.port)}]; give each its own"
    if len(pva) > 1 and not _is_multicast(timing.address):
        yield (
            f"timing.address: found {timing.address}, expected a multicast group: each datagram to a plain address "
            f"reaches one of the {len(pva)} [[pva]] sources only; give one, such as 239.255.50.1"
        )


def _repeated(values: Iterable[Hashable]) -> Iterator[tuple[int, int]]:
    """Yield the index of each value that came before, and the index where it came first."""
    seen: dict[Hashable, int] = {}
    for i, value in enumerate(values):
        first = seen.setdefault(value, i)
        if first != i:
            yield i, first


def _is_multicast(address: str) -> bool:
    try:
        return IPv4Address(address).is_multicast
    except ValueError:
        return False
