"""Take ``docs/pictures/status.svg``: what ``pebbledaq status`` shows beside a demo: ``python docs/tools/make_terminal.py``."""

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import MONOKAI

from detectors.workers.lock import running_systems
from ioc.glance.gather import System
from ioc.glance.table import WIDTH, render

PICTURE: Final = Path(__file__).resolve().parents[1] / "pictures" / "status.svg"
TAKEN_AFTER_S: Final = 8.0
"""From the first snapshot, so that there are rates."""

START_S: Final = 60.0


def look(until_s: float) -> System:
    """Return the system of the demo, looked at for a while."""
    while not (found := running_systems()):
        if time.monotonic() > until_s:
            sys.exit("the demo did not start in time")
        time.sleep(0.2)
    with System(found[0]) as system:
        receiving_s = float("inf")
        while time.monotonic() < min(until_s, receiving_s + TAKEN_AFTER_S):
            system.look(0.5)
            if receiving_s == float("inf") and any(view.state == "Receiving" for view in system.workers):
                receiving_s = time.monotonic()
        return system


def main() -> None:
    """Run a demo, look at it, and write the picture."""
    # A runtime folder of its own, short enough for sockets: other demos on this host are not seen.
    with tempfile.TemporaryDirectory(prefix="pd", dir="/tmp") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        with subprocess.Popen(
            [sys.executable, "-m", "ioc", "demo", "--seconds", "20"], stdout=subprocess.DEVNULL
        ) as demo:
            try:
                system = look(time.monotonic() + START_S)
            finally:
                demo.send_signal(signal.SIGINT)
    console = Console(file=io.StringIO(), width=WIDTH, record=True, force_terminal=True)
    console.print(render(system.prefix, system.workers, system.verdict, system.span_s), highlight=False)
    picture = console.export_svg(title="pebbledaq status", theme=MONOKAI, unique_id="status")
    # The reader's own font does; none is fetched from elsewhere.
    picture = re.sub(r"\s*<!--.*?-->", "", picture)
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL).replace("Fira Code", "monospace")
    PICTURE.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
