"""A wide detector: four hosts with eight modules each, which send real packets in small frames."""

import json
from pathlib import Path
from typing import Any, Final

from sim.hosts.namespaces import SimulatedHosts

HOSTS: Final = ("daq1", "daq2", "daq3", "daq4")
MODULES_PER_HOST: Final = 8
MODULES: Final = tuple(f"M{number:02}" for number in range(MODULES_PER_HOST * len(HOSTS)))
PACKETS: Final = 8
"""Packets of a frame."""
SHAPE: Final = (32, 1024)
"""A strip of a JUNGFRAU module: its packets hold four rows each."""
GEOMETRY: Final[dict[str, Any]] = {
    "header": "jungfrau", "rows": SHAPE[0], "cols": SHAPE[1], "dtype": "uint16", "packets_per_frame": PACKETS,
}  # fmt: skip
"""The geometry of a module, as a configuration gives it."""
REDUCED_PORT, PARTS_PORT, UDP_PORT = 54000, 54100, 51000
"""Ports of the stream of images, of the first of its parts, and of the first module."""


def host_of(module: str) -> str:
    """Return the host of a module."""
    return HOSTS[int(module[1:]) // MODULES_PER_HOST]


def modules_of(host: str) -> list[str]:
    """Return the modules of a host."""
    return [module for module in MODULES if host_of(module) == host]


def port_of(module: str) -> int:
    """Return the port that the packets of a module go to."""
    return UDP_PORT + int(module[1:])


def geometry_table() -> str:
    """Return the geometry of a module as an inline table of TOML."""
    return "{" + ", ".join(f"{name} = {json.dumps(value)}" for name, value in GEOMETRY.items()) + "}"


def write_wide(hosts: SimulatedHosts, folder: Path, prefix: str) -> Path:
    """Write the configuration of all hosts to a folder, where ``keys`` holds the CURVE keys; the first host makes the images."""
    # A dead host is waited for 4 s, twice missing_after_s, in which so many images must wait for it: rate x 4 s. On a busy machine
    # a living module may be late by more than a second.
    first = hosts[HOSTS[0]]
    text = [
        f'[detector]\nname = "WIDE"\nprefix = "{prefix}"\n',
        f'[control]\nport_base = 52000\ncurve_keys = "{folder}/keys"\n',
        f'[zmq]\nport_base = 53000\ncurve_keys = "{folder}/keys"\n',
        '[dma]\ncfgRxCount = 40\ncfgSize = "64 KiB"\n',
        f'[disk]\nfolder = "{first.data}"\nmin_free = "64 MiB"\n',
        f'[stream]\nhost = "{HOSTS[0]}"\nreduced = "tcp://{first.address}:{REDUCED_PORT}"\nreduced_rate_hz = 1e6',
        f"parts = true\npart_port_base = {PARTS_PORT}\njoin_every = 1\nhigh_water_mark = 60\nmissing_after_s = 2\n",
        *(
            f'[[host]]\nname = "{name}"\naddress = "{hosts[name].address}"\nseen_at = "{hosts[name].seen_at}"\n'
            for name in HOSTS
        ),
        *(
            f'[[udp]]\nname = "{module}"\nflush_timeout_s = 2\nhost = "{host_of(module)}"\naddress = "{hosts[host_of(module)].address}"\n'
            f"port = {port_of(module)}\nexpect_module_id = {number}\ngeometry = {geometry_table()}\n"
            for number, module in enumerate(MODULES)
        ),
    ]
    path = folder / "wide.toml"
    path.write_text("\n".join(text))
    return path
