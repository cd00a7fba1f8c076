"""The IOC of a configuration, with fake workers. Words after the configuration are given to workers: ``udp.M01=--exit-code=2``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from detectors.config import load_config
from detectors.errors import PebbleDaqError
from detectors.run_state import RunState
from detectors.workers.logs import set_up
from ioc.server import serve


def main() -> int:
    path = Path(sys.argv[1])
    extra: dict[str, list[str]] = {}
    for word in sys.argv[2:]:
        worker, _, option = word.partition("=")
        extra.setdefault(worker, []).append(option)
    try:
        config = load_config(path)
        set_up("ioc", config.log)
        assert config.disk is not None
        folder = f"{config.disk.folder}/DET"

        def build(worker: str, state: RunState) -> Sequence[str]:
            start = [sys.executable, "-m", "tests.support.fake_worker", config.detector.prefix, worker, folder]
            return [*start, "--state", state.name.lower(), *extra.get(worker, [])]

        return serve(config, path, build)
    except PebbleDaqError as error:
        print(f"pebbledaq: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
