"""A process that is driven by one line of JSON a command."""

import json
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

START_S = 60.0
END_S = 20.0


class Console:
    """Runs ``python -m module *args``; waits for READY; ``ask`` sends a command and returns the answer.

    ``launcher`` are words before it, of a command that runs it elsewhere.
    """

    def __init__(
        self, module: str, *args: str, launcher: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            [*launcher, sys.executable, "-u", "-m", module, *args],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self._line(START_S)
        assert line == "READY", f"{module} said {line!r}"

    def ask(self, command: str, **args: Any) -> Any:
        """Send a command and return its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"command": command, **args}) + "\n")
        self.process.stdin.flush()
        return json.loads(self._line(30.0))

    def _line(self, timeout_s: float) -> str:
        """Return the next line of output that is ours: libraries may print, ours are READY and JSON."""
        stdout = self.process.stdout
        assert stdout is not None
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while True:
                assert selector.select(max(0.0, deadline - time.monotonic())), "the child said nothing"
                line = stdout.readline()
                assert line, f"the child ended with {self.process.wait(END_S)}"
                if line.startswith(("READY", "{", "null")):
                    return line.strip()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.kill()
        self._reap()

    def close(self) -> None:
        """End it by closing its input."""
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._reap()

    def _reap(self) -> None:
        self.process.wait(END_S)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(commands: dict[str, Any]) -> None:
    """In the child: answer commands until the input ends."""
    print("READY", flush=True)  # noqa: T201
    for line in sys.stdin:
        request = json.loads(line)
        answer = commands[request.pop("command")](**request)
        print(json.dumps(answer), flush=True)  # noqa: T201
