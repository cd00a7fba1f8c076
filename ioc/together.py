"""One action for several workers at once, with one refusal that names each that refused."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from detectors.errors import CommandError


async def each(names: Iterable[str], action: Callable[[str], Awaitable[object]]) -> None:
    """Do ``action`` for all names at once; raise one CommandError that names each that refused."""
    listed = list(names)
    answers = await asyncio.gather(*(action(name) for name in listed), return_exceptions=True)
    refusals: list[str] = []
    for name, answer in zip(listed, answers, strict=True):
        if isinstance(answer, CommandError):
            refusals.append(f"{name}: {answer}" if name else str(answer))
        elif isinstance(answer, BaseException):
            raise answer
    if refusals:
        raise CommandError("; ".join(refusals))
