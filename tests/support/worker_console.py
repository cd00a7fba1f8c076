"""Commands to the workers of one host, for tests on another: ``python -m tests.support.worker_console PREFIX``."""

import sys
from typing import Any

from detectors.runtime import Runtime
from detectors.workers.commands import request
from tests.support.child import serve

if __name__ == "__main__":
    runtime = Runtime(sys.argv[1])

    def status(workers: list[str]) -> dict[str, Any]:
        return {worker: request(runtime.command(worker), "status", timeout_s=10.0) for worker in workers}

    serve({"status": status})
