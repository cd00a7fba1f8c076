"""Slurm on one machine, with the nodes and the slurm.conf that docs/how-to/slurm.md shows. Needs root, and Debian's packages."""

import os
import re
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from tests.support.ports import free_ports
from tests.support.process import ROOT
from tests.support.waiting import until

PROGRAMS: Final = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue", "sinfo")
PAGE: Final = ROOT / "docs" / "how-to" / "slurm.md"


def why_no_slurm() -> str:
    """Return why there can be no cluster here; empty when there can."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"found no program {', '.join(missing)}: install slurm-wlm and munge"
    return "" if os.geteuid() == 0 else f"found user {os.geteuid()}, expected root: Slurm's daemons need it"


class SlurmCluster:
    """Context manager. All of it lies in a folder of its own and ends with it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="pd", dir="/tmp"))
        self._stack.callback(shutil.rmtree, self.folder)
        self.environment = dict(os.environ) | {"SLURM_CONF": f"{self.folder}/slurm.conf"}
        """What Slurm's commands need; it holds in jobs too."""

    def __enter__(self) -> Self:
        with self._stack:
            nodes = self._write_files()
            key, socket = (f"--{name}={self.folder}/munge.{name}" for name in ("key", "socket"))
            others = (f"--{name}-file={self.folder}/munged.{name}" for name in ("pid", "log", "seed"))
            self._start("munged", "--foreground", "--force", key, socket, *others)
            until((self.folder / "munge.socket").exists)
            self._start("slurmctld", "-D")
            for node in nodes:
                self._start("slurmd", "-D", "-N", node)
            until(
                lambda: self.tell("sinfo", "-h", "-N", "-o", "%T", check=False).split(),
                lambda s: s == ["idle"] * len(nodes),
                timeout_s=60.0,
            )
            self._stack.callback(self._cancel_all)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def tell(self, *words: str, check: bool = True) -> str:
        """Run one of Slurm's commands, and return what it prints."""
        done = subprocess.run(words, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stderr + self._logs()
        return done.stdout.strip()

    def submit(self, script: Path) -> str:
        """Submit a job, which runs in the folder; return its number."""
        return self.tell("sbatch", "--parsable", str(script))

    def jobs(self) -> list[str]:
        """The node and the state of each component of each job."""
        return sorted(self.tell("squeue", "-h", "-o", "%N %T").splitlines())

    def cancel(self, job: str) -> None:
        """End a job, and wait until nothing of it runs."""
        self.tell("scancel", job)
        until(self.jobs, lambda jobs: not jobs, timeout_s=40.0)

    def _write_files(self) -> list[str]:
        """Write the files of the page, with ports of our own; return the names of the nodes."""
        (text,) = re.findall(r"slurm\.conf <<'END'\n(.*?)^END$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
        text = text.replace("/tmp/slurm", str(self.folder))
        ports = sorted(set(re.findall(r"Port=(\d+)", text)))
        for port, free in zip(ports, free_ports(len(ports)), strict=True):
            text = text.replace(f"Port={port}", f"Port={free}")
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        return re.findall(r"^NodeName=(\w+)", text, re.MULTILINE)

    def _start(self, *words: str) -> None:
        # What it says is in its log as well.
        silent = subprocess.DEVNULL
        process = subprocess.Popen(words, env=self.environment, stdin=silent, stdout=silent, stderr=silent)
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)

    def _cancel_all(self) -> None:
        self.tell("scancel", "--user=root", check=False)
        until(self.jobs, lambda jobs: not jobs, timeout_s=40.0)

    def _logs(self) -> str:
        return "".join(f"\n{path.name}:\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))
