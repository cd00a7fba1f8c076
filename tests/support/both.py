"""The IOC of ``examples/both.toml`` with all its workers, and simulated sources that feed it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detectors.config import Config, SourceSection, load_config
from detectors.worker_names import worker_name
from ioc.demo.children import Child
from tests.support.epics_env import epics_variables
from tests.support.examples import write_example
from tests.support.ioc_process import IocProcess
from tests.support.ports import free_ports

PULSE_HZ = 10.0
STEP = 5
"""The camera takes every fifth pulse."""
FIRST_PULSE = 1_099_990
"""The run goes over the edge of a data folder."""

NAMES = ("M00", "M01", "CAM")


class Running:
    """The IOC of ``examples/both.toml`` and its simulated sources."""

    def __init__(self, ioc: IocProcess, config: Config, sources: Mapping[str, Child]) -> None:
        self.ioc = ioc
        self.config = config
        self.sources = sources

    def source(self, name: str) -> SourceSection:
        return next(s for s in (*self.config.udp, *self.config.pva) if s.name == name)

    def grows(self, *records: str) -> None:
        """Wait until every counter has grown from now on."""
        before = {name: self.ioc.value(name) for name in records}
        for name, value in before.items():
            self.ioc.until(name, lambda v, was=value: v > was)

    def snapshots(self) -> dict[str, Any]:
        return {name: self.ioc.ask(worker_name(self.source(name)), "status") for name in NAMES}


@contextmanager
def running_both(folder: Path, more: Mapping[str, Sequence[str]] | None = None) -> Iterator[Running]:
    """Start all of it; ``more`` are further options of a simulator, by the source's name."""
    path = write_example("both", folder)
    config = load_config(path)
    variables = epics_variables()
    (search,) = free_ports(1)
    # Two servers on one search port would depend on the kernel for who hears the client.
    variables["EPICS_PVA_ADDR_LIST"] = f"127.0.0.1:{variables['EPICS_PVA_BROADCAST_PORT']} 127.0.0.1:{search}"
    with IocProcess(config.detector.prefix, "-m", "ioc", "run", str(path), variables=variables) as ioc:
        sources = _start_sources(config, ioc.environment, search, more or {})
        try:
            for child in sources.values():
                child.wait_ready(time.monotonic() + 60)
            ioc.until("CAM:Connected_RBV", "Yes")
            for name in NAMES:
                ioc.until(f"{name}:RunState_RBV", "Enabled")
            epoch_ns = time.time_ns() + 300_000_000
            for child in sources.values():
                child.write_line(str(epoch_ns))
            yield Running(ioc, config, sources)
        finally:
            for child in sources.values():
                child.end()


def _start_sources(
    config: Config, environment: Mapping[str, str], search: int, more: Mapping[str, Sequence[str]]
) -> dict[str, Child]:
    clock = ["--epoch-ns", "-", "--start", str(FIRST_PULSE)]
    pulses = [*clock, "--rate", str(PULSE_HZ)]
    images = [*clock, "--rate", str(PULSE_HZ / STEP), "--step", str(STEP)]
    assert config.timing is not None
    (camera,) = config.pva
    served = ["--broadcast-port", str(search), "--initial-image", "--linger", "0"]
    words = {
        "CAM": ["sim", "pva", camera.pv[0], *images, *served],
        "timing": ["sim", "timing", str(config.timing.port), *images],
    }
    for module in config.udp:
        words[module.name] = ["sim", "udp", str(module.port), *pulses, "--module-id", str(config.index_of(module))]
    return {name: Child(name, [*arguments, *more.get(name, ())], environment) for name, arguments in words.items()}
