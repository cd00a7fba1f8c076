"""A wide detector: four hosts with eight modules each, which send real packets in small frames."""

import random
import string
from pathlib import Path

from tests.support.namespaces import Hosts

HOSTS = ("daq1", "daq2", "daq3", "daq4")
MODULES_PER_HOST = 8
MODULES = tuple(f"M{number:02}" for number in range(MODULES_PER_HOST * len(HOSTS)))
PACKETS = 8
"""Packets of a frame."""
SHAPE = (32, 1024)
"""A strip of a JUNGFRAU module: its packets hold four rows each."""
REDUCED_PORT, PARTS_PORT = 54000, 54100

_GEOMETRY = (
    f'{{header = "jungfrau", rows = {SHAPE[0]}, cols = {SHAPE[1]}, dtype = "uint16", packets_per_frame = {PACKETS}}}'
)


def host_of(module: str) -> str:
    return HOSTS[int(module[1:]) // MODULES_PER_HOST]


def modules_of(host: str) -> list[str]:
    return [module for module in MODULES if host_of(module) == host]


def write_wide(hosts: Hosts, folder: Path) -> Path:
    """Write the configuration of all hosts to a folder, where ``keys`` holds the CURVE keys; the first host makes the images."""
    # A dead host is waited for 2 s, twice missing_after_s, in which so many images must wait for it: rate x 2 s.
    prefix = "T" + "".join(random.choices(string.ascii_uppercase, k=8)) + ":"
    first = hosts[HOSTS[0]]
    text = [
        f'[detector]\nname = "WIDE"\nprefix = "{prefix}"\n',
        f'[control]\nport_base = 52000\ncurve_keys = "{folder}/keys"\n',
        f'[zmq]\nport_base = 53000\ncurve_keys = "{folder}/keys"\n',
        '[dma]\ncfgRxCount = 40\ncfgSize = "64 KiB"\n',
        f'[disk]\nfolder = "{first.data}"\nmin_free = "64 MiB"\n',
        f'[stream]\nhost = "{HOSTS[0]}"\nreduced = "tcp://{first.address}:{REDUCED_PORT}"\nreduced_rate_hz = 1e6',
        f"parts = true\npart_port_base = {PARTS_PORT}\njoin_every = 1\nhigh_water_mark = 60\n",
        *(
            f'[[host]]\nname = "{name}"\naddress = "{hosts[name].address}"\nseen_at = "{hosts[name].seen_at}"\n'
            for name in HOSTS
        ),
        *(
            f'[[udp]]\nname = "{module}"\nhost = "{host_of(module)}"\naddress = "{hosts[host_of(module)].address}"\n'
            f"port = {51000 + number}\nexpect_module_id = {number}\ngeometry = {_GEOMETRY}\n"
            for number, module in enumerate(MODULES)
        ),
    ]
    path = folder / "wide.toml"
    path.write_text("\n".join(text))
    return path
