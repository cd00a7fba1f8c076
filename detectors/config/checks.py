"""What one section of the configuration alone cannot know. Each mistake is one line that starts with its place."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import TypeVar

from detectors.config.sections import PvaSection, TimingSection, UdpSection

P = TypeVar("P", str, int)


def disagreements(udp: Sequence[UdpSection], pva: Sequence[PvaSection], timing: TimingSection | None) -> list[str]:
    """Return what does not agree between the sources, and between them and the timing stream."""
    return [*_sources(udp, pva), *_modules(udp), *_timing(udp, pva, timing)]


def _sources(udp: Sequence[UdpSection], pva: Sequence[PvaSection]) -> Iterator[str]:
    places = [*((f"udp[{i}]", s) for i, s in enumerate(udp)), *((f"pva[{i}]", s) for i, s in enumerate(pva))]
    if not places:
        yield "udp, pva: found no source, expected at least one [[udp]] or [[pva]] table"
    names = {place: source.name for place, source in places}
    # Whatever their case: names that differ in nothing else are too easily confused.
    for place, first in _repeated((place, name.upper()) for place, name in names.items()):
        yield f"{place}.name: {names[place]!r} is also the name of {first}; give each source its own"


def _modules(udp: Sequence[UdpSection]) -> Iterator[str]:
    for i, first in _repeated((i, module.port) for i, module in enumerate(udp)):
        yield f"udp[{i}].port: {udp[i].port} is also the port of udp[{first}]; give each its own"
    for i, first in _repeated((i, module.module_id) for i, module in enumerate(udp)):
        yield f"udp[{i}].module_id: {udp[i].module_id} is also that of udp[{first}]; give each its own"
    for i, module in enumerate(udp):
        one, other = module.geometry, udp[0].geometry
        if (one.frame_bytes, one.dtype) != (other.frame_bytes, other.dtype):
            yield f"udp[{i}].geometry: differs from udp[0].geometry, but the modules of one detector are alike"


def _timing(udp: Sequence[UdpSection], pva: Sequence[PvaSection], timing: TimingSection | None) -> Iterator[str]:
    if timing is None:
        return
    for i, module in enumerate(udp):
        if module.port == timing.port:
            yield f"timing.port: {timing.port} is also the port of udp[{i}]; give each its own"
            break
    if len(pva) > 1 and not _is_multicast(timing.address):
        yield (
            f"timing.address: found {timing.address}, expected a multicast group: each datagram to a plain address "
            f"reaches one of the {len(pva)} [[pva]] sources only; give one, such as 239.255.50.1"
        )


def _repeated(entries: Iterable[tuple[P, Hashable]]) -> Iterator[tuple[P, P]]:
    """Yield the place of each value that came before, and the place where it came first."""
    seen: dict[Hashable, P] = {}
    for place, value in entries:
        first = seen.setdefault(value, place)
        if first != place:
            yield place, first


def _is_multicast(address: str) -> bool:
    try:
        return IPv4Address(address).is_multicast
    except ValueError:
        return False
