"""The C programs that ours is compared with: compiled when a compiler is there."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parent / "c"


class NoCompilerError(Exception):
    """No C compiler: what is measured against C programs is left out."""


def compile_program(name: str, folder: Path) -> Path:
    """Compile ``bench/c/name.c`` into a folder and return the program."""
    compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if compiler is None:
        raise NoCompilerError
    program = folder / name
    subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCES / f"{name}.c")], check=True)
    return program


class Program:
    """A program that prints READY, if it is to be waited for, and one line of JSON at its end."""

    def __init__(self, *command: object, ready: bool) -> None:
        self._process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        if ready:
            line = self._process.stdout.readline()
            assert line.startswith("READY"), f"{command[0]} said {line!r}"

    def result(self, timeout_s: float = 60) -> dict[str, Any]:
        """Wait for the end and return what it printed."""
        out, _ = self._process.communicate(timeout=timeout_s)
        return json.loads(out.splitlines()[-1])
