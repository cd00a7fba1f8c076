"""The hosts of a configuration: what workers on other hosts than the IOC's need, and what does not agree about them."""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import Annotated

from pydantic import AfterValidator

from detectors.config.sections import (
    AbsolutePath,
    Name,
    PlacedSection,
    Port,
    PvaSection,
    Section,
    SourceSection,
    StreamSection,
    UdpSection,
    ZmqSection,
)


def _address(value: str) -> str:
    if any(c.isspace() or c in ":/*" for c in value):
        raise ValueError(f"found {value!r}, expected an IPv4 address or a name that the other hosts resolve")
    return value


class HostSection(Section):
    """One host of a detector that has several."""

    name: Name
    """Name of the host: what ``host`` of sources and outputs says, and a part of its PVs."""
    address: Annotated[str, AfterValidator(_address)] = ""
    """IPv4 address, or DNS name, at which the other hosts reach it; left out: its name."""
    folder: AbsolutePath | None = None
    """Folder that its sources write to, in place of disk.folder, and below which clients may move them; left out: that one."""
    seen_at: AbsolutePath | None = None
    """Its folder as other hosts see it, on a network file system say; left out: by the same path."""

    @property
    def at(self) -> str:
        """Where it is reached."""
        return self.address or self.name

    @property
    def bind(self) -> str:
        """What its own sockets are bound to: its address, or all of them where that is a name."""
        try:
            return str(IPv4Address(self.at))
        except ValueError:
            return "*"


class ControlSection(Section):
    """How the IOC reaches workers on other hosts: ZMQ over tcp, encrypted, for clients that have the keys."""

    port_base: Port
    """First of the tcp ports of control: two for each worker of this file, in its order. A worker without a host uses none."""
    curve_keys: AbsolutePath
    """Folder of CURVE keys (``pebbledaq keys``), the same on all hosts. A client with these keys can command the workers."""


def disagreements(
    hosts: Sequence[HostSection],
    control: ControlSection | None,
    placed: Iterable[tuple[str, PlacedSection]],
    taken: Iterable[str],
) -> Iterator[str]:
    """Yield what does not agree about hosts, one line each. ``placed`` are the sections with a host, ``taken`` the sources' names."""
    names = [host.name for host in hosts]
    used = {name.upper(): f"the name of the source {name}" for name in taken}
    for i, name in enumerate(names):
        if name.upper() in used:
            yield f"host[{i}].name: {name!r} is also {used[name.upper()]}; give it another"
        used[name.upper()] = f"the name of host[{i}]"
    if hosts and control is None:
        yield "control: missing; hosts need its port_base and curve_keys (pebbledaq keys)"
    for place, section in placed:
        if section.host is not None and section.host not in names:
            known = f"one of {', '.join(names)}" if names else "a [[host]] table of that name"
            yield f"{place}.host: found {section.host!r}, expected {known}"


def unreachable(consumer: str, host: str | None, sources: Iterable[SourceSection], zmq: ZmqSection) -> Iterator[str]:
    """Yield why a consumer on a host cannot have the module streams of sources on others, one line each."""
    elsewhere = [source for source in sources if source.host != host]
    if not elsewhere:
        return
    reason = (
        f"{consumer} is on another host than {', '.join(source.name for source in elsewhere)}, whose streams it reads"
    )
    if zmq.port_base is None:
        yield f"zmq.port_base: missing; {reason}: give the first of their tcp ports"
    if any(source.host is None for source in elsewhere) and zmq.host in ("127.0.0.1", "0.0.0.0", "*"):  # noqa: S104
        yield f"zmq.host: found {zmq.host!r}, expected the address of the IOC's host that others reach; {reason}"
    for source in elsewhere:
        if isinstance(source, PvaSection) and not (source.dtype and source.shape):
            yield f"pva.dtype, pva.shape: missing; {reason}: give those of {source.name}"


def without_images(consumer: str, host: str | None, stream: StreamSection | None) -> Iterator[str]:
    """Yield why a consumer on a host cannot have the images of [stream], which it shows when not all modules are on its host."""
    reason = f"{consumer} shows modules of other hosts by this stream"
    if stream is None or not stream.reduced:
        yield f"stream.reduced: missing; {reason}: give it an address"
    elif stream.host != host and not stream.reduced.startswith("tcp://"):
        yield f"stream.reduced: found {stream.reduced!r}, expected a tcp address; {reason}, and is on another host"


def unfit_for_parts(
    hosts: Sequence[HostSection], modules: Sequence[UdpSection], stream: StreamSection
) -> Iterator[str]:
    """Yield why modules cannot be streamed in parts, one line each."""
    if not modules:
        yield "stream.parts: found no [[udp]] module, expected some: each host streams the part that its modules make up"
    if lacking := [module.name for module in modules if module.host is None]:
        yield f"stream.parts: {', '.join(lacking)} have no host; give each module one"
    if stream.part_port_base is None:
        yield "stream.part_port_base: missing; give the first of the tcp ports of the parts, two for each host"
    elif stream.part_port_base > (most := 65_536 - 2 * len(hosts)):
        yield f"stream.part_port_base: found {stream.part_port_base}, expected at most {most}: two ports for each host"
