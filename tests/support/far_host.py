"""A second host for tests of the IOC, on the same machine: with its keys, and a runtime folder of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from detectors.curve import make_keys
from tests.support.ioc_setup import prefix_of, write_config
from tests.support.ports import free_hundred
from tests.support.process import Process

HOST = '[[host]]\nname = "far"\naddress = "127.0.0.1"\n'


@dataclass
class Far:
    """The host far, which has M00 and M01; the camera is on the IOC's."""

    config: Path
    runtime_dir: Path
    stack: ExitStack

    def launch(self, worker: str, *words: str) -> Process:
        """Launch a fake worker, as the service manager of the host does."""
        command = ("-m", "tests.support.fake_worker", prefix_of(self.config), worker, f"{self.config.parent}/data/DET")
        return self._launch(*command, "--config", str(self.config), *words)

    def launch_keeper(self) -> Process:
        """Launch the keeper of the host, a real one."""
        return self._launch("-m", "ioc", "keeper", str(self.config), "far")

    def _launch(self, *words: str) -> Process:
        environment = os.environ | {"XDG_RUNTIME_DIR": str(self.runtime_dir)}
        return self.stack.enter_context(Process(*words, environment=environment)).ready()


@contextmanager
def far_host(folder: Path) -> Iterator[Far]:
    """The host, with its configuration in ``folder``; what was launched there ends with it."""
    make_keys(folder / "keys", "server")
    control = f'[control]\nport_base = {free_hundred()}\ncurve_keys = "{folder}/keys"\n'
    config = write_config(folder, HOST + control)
    config.write_text(
        config.read_text().replace('address = "127.0.0.1"\n[[', 'address = "127.0.0.1"\nhost = "far"\n[[')
    )
    runtime_dir = Path(tempfile.mkdtemp(prefix="pd", dir="/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, runtime_dir, ignore_errors=True)
        yield Far(config, runtime_dir, stack)
