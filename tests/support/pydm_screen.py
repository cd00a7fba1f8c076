"""Look at a screen in PyDM, against an IOC that runs."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.installed import needs
from tests.support.ioc_process import IocProcess
from tests.support.process import ROOT


def picture(ioc: IocProcess, screen: Path, macros: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Take a picture of a screen, and return what is on it: see ``pydm_view``.

    PyDM 1.29 can miss that a PV is connected when that comes while it sets up its callbacks: then the screen is opened again.
    """
    for _ in range(3):
        found = _look(ioc, screen, macros, path)
        if not found["disconnected"]:
            break
    return found


def _look(ioc: IocProcess, screen: Path, macros: Mapping[str, str], path: Path) -> dict[str, Any]:
    needs("pydm")
    qt = {"QT_QPA_PLATFORM": "offscreen", "PYDM_EPICS_LIB": "pyepics"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.pydm_view", str(screen), json.dumps(macros), str(path)],
        cwd=ROOT,
        env=ioc.environment | qt,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, f"{screen.name}: ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads(lines[-1])
