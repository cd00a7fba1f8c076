"""Pieces of work, who does them, and in which order their results are combined."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from detectors.buffer.checks import Progress

Node = TypeVar("Node")

Combine = Callable[[Sequence[Any]], Any]

FAN_IN: Final = 8
"""Results that are combined at a time."""


class Job(NamedTuple):
    """A call that any worker can make: the function and its arguments can be pickled."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    host: str = ""
    """Host that has the pixels; empty when that is not known."""


class Workers(Protocol):
    """What does jobs: this process, or the workers of a cluster. Both methods raise what a job raises."""

    def map(self, jobs: Sequence[Job], progress: Progress | None = None) -> Iterator[Any]:
        """Yield the results, in the order of the jobs."""
        ...

    def reduce(self, jobs: Sequence[Job], combine: Combine, progress: Progress | None = None) -> Any:
        """Return the results combined, in the order that ``tree`` says. There must be a job."""
        ...


class ThisProcess:
    """Does one job after another."""

    def map(self, jobs: Sequence[Job], progress: Progress | None = None) -> Iterator[Any]:
        """Yield each result when it is there."""
        for done, job in enumerate(jobs, 1):
            result = job.function(*job.arguments)
            if progress:
                progress(done, len(jobs))
            yield result

    def reduce(self, jobs: Sequence[Job], combine: Combine, progress: Progress | None = None) -> Any:
        """Return the combined results; few of them are in memory at a time."""
        return tree(self.map(jobs, progress), combine)


def tree(leaves: Iterable[Node], combine: Callable[[Sequence[Node]], Node]) -> Node:
    """Return ``leaves`` combined in a tree, FAN_IN at a time. What is combined with what depends on their number only.

    So sums of floating-point numbers, which depend on their order, are the same wherever they are computed. Of each level at most FAN_IN nodes
    are kept.
    """
    levels: list[list[Node]] = []
    for leaf in leaves:
        node = leaf
        for level in range(len(levels) + 1):
            if level == len(levels):
                levels.append([])
            levels[level].append(node)
            if len(levels[level]) < FAN_IN:
                break
            node = combine(levels[level])
            levels[level] = []
    rest: list[Node] = []
    for nodes in levels:
        # The nodes of a higher level are of earlier leaves.
        rest = [combine([*nodes, *rest])] if len(nodes) + len(rest) > 1 else [*nodes, *rest]
    return rest[0]
