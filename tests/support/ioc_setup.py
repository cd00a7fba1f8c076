"""A small detector for tests of the IOC: two modules and a camera, whose workers are fake."""

import random
import string
from pathlib import Path

from tests.support.ioc_process import IocProcess
from tests.support.ports import free_ports
from tests.support.senders import PATIENT

M00, M01, CAM = "udp.M00", "udp.M01", "pva.CAM"
SOURCES = ("M00", "M01", "CAM")


def write_config(folder: Path, more: str = "", *, ports: tuple[int, int] | None = None) -> Path:
    """A configuration with a prefix of its own; ``more`` are further tables."""
    prefix = "T" + "".join(random.choices(string.ascii_uppercase, k=8)) + ":"
    first, second = ports or free_ports(2)
    path = folder / "detector.toml"
    path.write_text(
        f'[detector]\nname = "DET"\nprefix = "{prefix}"\n'
        f'[disk]\nfolder = "{folder}/data"\nroots = ["{folder}", "/tmp"]\n'
        f'[[udp]]\nname = "M00"\n{PATIENT}expect_module_id = 0\nport = {first}\naddress = "127.0.0.1"\n'
        f'[[udp]]\nname = "M01"\n{PATIENT}expect_module_id = 1\nport = {second}\naddress = "127.0.0.1"\n'
        f'[[pva]]\nname = "CAM"\npv = "SIM:IMAGE"\n{more}'
    )
    return path


def prefix_of(config: Path) -> str:
    return config.read_text().split('prefix = "')[1].split('"')[0]


def start(config: Path, *words: str) -> IocProcess:
    """The IOC with fake workers; for ``words`` see ``tests.support.fake_ioc``."""
    return IocProcess(prefix_of(config), "-m", "tests.support.fake_ioc", str(config), *words)


def receiving(ioc: IocProcess) -> IocProcess:
    """Wait until all sources receive."""
    for name in SOURCES:
        ioc.until(f"{name}:State_RBV", "Receiving")
    return ioc
