"""Workers that are stopped in the middle."""

from collections.abc import Iterator, Sequence
from typing import Any

from detectors.buffer.checks import Progress
from detectors.cluster.jobs import Job, ThisProcess


class StopsAfter(ThisProcess):
    """This process, stopped by Ctrl-C when it has done one job more than ``jobs``."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def map(self, jobs: Sequence[Job], progress: Progress | None = None) -> Iterator[Any]:
        for done, result in enumerate(super().map(jobs, progress)):
            if done == self.jobs:
                raise KeyboardInterrupt
            yield result
