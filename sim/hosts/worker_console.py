"""Commands to the workers of one host, for a client on another: ``python -m sim.hosts.worker_console PREFIX``."""

import sys
from typing import Any

from detectors.runtime_names import RuntimeNames
from detectors.workers.commands import request
from sim.console import serve


def main() -> None:
    """Ask workers for their snapshots."""
    runtime = RuntimeNames(sys.argv[1])

    def status(workers: list[str]) -> dict[str, Any]:
        return {worker: request(runtime.command(worker), "status", timeout_s=10.0) for worker in workers}

    serve({"status": status})


if __name__ == "__main__":
    main()
