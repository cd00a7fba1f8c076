"""Workers of a Dask cluster: of a scheduler that runs already, or processes of this machine."""

import functools
import logging
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any, Final, cast

from detectors.buffer.checks import Progress
from detectors.cluster.jobs import Combine, Job, ThisProcess, Workers, tree
from detectors.cluster.places import workers_of
from detectors.errors import HostError, PebbleDaqError
from detectors.extras import extra, missing

CONNECT_TIMEOUT_S: Final = 10
"""Longest time until a scheduler answers, s."""

_SOONER: Final = 1
"""Priority of combining: results are combined as soon as they can be, so that few of them take memory."""


_IGNORE_CTRL_C: Final = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Run by each process of this machine: Ctrl-C is for the command, which ends them."""


class DaskWorkers:
    """Does jobs on the workers of a Dask client; a job whose worker is killed is done again by another."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]

    def __len__(self) -> int:
        return len(self._workers)

    def map(self, jobs: Sequence[Job], progress: Progress | None = None) -> Iterator[Any]:
        """Yield the results in the order of the jobs; the first error of any of them ends it."""
        places = self._places(jobs)
        futures = [self._submit(job, places) for job in jobs]
        number = {future: n for n, future in enumerate(futures)}
        ready: dict[int, Any] = {}
        following = 0
        try:
            for future in self._done(futures, progress):
                ready[number[future]] = _result(future)
                while following in ready:
                    yield ready.pop(following)
                    following += 1
        finally:
            self._client.cancel(list(number))

    def reduce(self, jobs: Sequence[Job], combine: Combine, progress: Progress | None = None) -> Any:
        """Return the combined results; they travel from worker to worker, and only the last one comes here."""
        places = self._places(jobs)
        leaves = [self._submit(job, places) for job in jobs]
        join = functools.partial(_combined, combine)
        total = tree(leaves, lambda nodes: self._client.submit(join, *nodes, pure=False, priority=_SOONER))
        waiting = leaves.copy()
        del leaves  # what nothing refers to any more is freed on the workers
        for future in self._done(waiting, progress):
            if future.status != "finished":
                _result(future)
        return _result(total)

    def _places(self, jobs: Sequence[Job]) -> dict[str, list[str]]:
        return workers_of({job.host for job in jobs if job.host}, self._workers)

    def _submit(self, job: Job, places: dict[str, list[str]]) -> Any:
        where: dict[str, Any] = {}
        if there := places.get(job.host):
            # Others may do it when they are idle, or those are gone.
            where = {"workers": there, "allow_other_workers": True}
        return self._client.submit(job.function, *job.arguments, pure=False, **where)

    def _done(self, futures: list[Any], progress: Progress | None) -> Iterator[Any]:
        """Yield futures as they are done, and forget them: ``futures`` is empty then."""
        from distributed import as_completed

        total, completed = len(futures), as_completed(futures, loop=self._client.loop)
        futures.clear()
        for done, future in enumerate(cast("Iterator[Any]", completed), 1):
            if progress:
                progress(done, total)
            yield future


def _combined(combine: Combine, *nodes: Any) -> Any:
    return combine(nodes)


def _result(future: Any) -> Any:
    if future.cancelled():
        raise HostError("the Dask scheduler is gone, or took the work back; parts of an output that are done stay")
    try:
        return future.result()
    except PebbleDaqError:
        raise
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise HostError(f"the Dask cluster failed: {text}") from error


@contextmanager
def _quiet() -> Generator[None]:
    """Let Dask log nothing: what fails is an error of one line."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def on_scheduler(address: str) -> Generator[DaskWorkers]:
    """Yield the workers of a scheduler that runs. Raises HostError when none answers, or when it has none."""
    with extra("dask", "--scheduler"):
        from distributed import Client
    try:
        client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise HostError(f"{address}: no Dask scheduler answers there: {error}; give tcp://host:port") from None
    with _quiet(), closing(client):
        workers = DaskWorkers(client)
        if not len(workers):
            raise HostError(
                f"{address}: the Dask scheduler has no workers; start some, or leave the option --scheduler out"
            )
        yield workers


@contextmanager
def on_this_machine(count: int) -> Generator[DaskWorkers]:
    """Yield ``count`` processes of this machine, which end with the block. Nobody else can send them work: TLS, keys of their own."""
    with extra("dask", "--workers"):
        import cryptography  # noqa: F401  # pyright: ignore[reportUnusedImport]  # makes the keys, inside of distributed
        import distributed

        dask: Any = distributed  # whose annotations are partly wrong
        security = dask.Security.temporary()
    with (
        dask.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            host="tls://127.0.0.1",
            security=security,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            preload=[_IGNORE_CTRL_C],
        ) as cluster,
        dask.Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(count)
        yield DaskWorkers(client)


def useful_here(jobs: int) -> int | None:
    """Return how many processes of this machine do so many jobs best; None: this one, also where Dask is not installed."""
    count = min(len(os.sched_getaffinity(0)), jobs)
    return count if count > 1 and not missing("dask") else None


def workers(scheduler: str | None, count: int | None) -> AbstractContextManager[Workers]:
    """Return the workers of a scheduler, or ``count`` processes of this machine; with neither, this process. Raises HostError."""
    if scheduler is not None:
        return on_scheduler(scheduler)
    return nullcontext(ThisProcess()) if count is None else on_this_machine(count)
