"""Scripts that make an IOC of their own: softioc starts once in a process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.epics_env import epics_variables
from tests.support.process import ROOT


def run_ioc_script(script: str, folder: Path) -> Any:
    """Run a Python script, which is given the path of a template to write, and return the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder / "one.template")],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"} | epics_variables(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
