"""Images from the thread that makes them to the browsers that show them: the newest is on the board, older ones are gone."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Generator, Mapping
from typing import Literal, NamedTuple

PixelForm = Literal["8", "16", "jpeg"]
"""What is made of an image: 8 or 16 bits for a canvas, or a picture."""

Wish = tuple[str, PixelForm]
"""A detector, and a form of its images."""


class Posted(NamedTuple):
    """What is on the board for one wish."""

    number: int
    """Counts such images."""
    message: bytes


class Board:
    """For the event loop; ``wanted`` may be read by any thread."""

    def __init__(self) -> None:
        self.wanted: frozenset[Wish] = frozenset()
        """What browsers wait for."""
        self.sent = self.skipped = 0
        self._waiting: Counter[Wish] = Counter()
        self._numbers: Counter[Wish] = Counter()
        self._posted: dict[Wish, Posted] = {}
        self._changed = asyncio.Event()

    @property
    def browsers(self) -> int:
        """Browsers that show images."""
        return sum(number for (_, form), number in self._waiting.items() if form != "jpeg")

    @contextlib.contextmanager
    def waiting(self, wish: Wish) -> Generator[None]:
        """Let such images be made."""
        self._waiting[wish] += 1
        self._tell()
        try:
            yield
        finally:
            self._waiting[wish] -= 1
            self._tell()

    def post(self, messages: Mapping[Wish, bytes]) -> None:
        """Put an image on the board, for the requests that wait."""
        for wish in messages.keys() & self.wanted:
            self._numbers[wish] += 1
            self._posted[wish] = Posted(self._numbers[wish], messages[wish])
        self._changed.set()
        self._changed = asyncio.Event()

    async def next(self, wish: Wish, seen: int) -> Posted:
        """Return the newest such image, once there is one after number ``seen``."""
        while True:
            posted = self._posted.get(wish)
            if posted and posted.number > seen:
                return posted
            await self._changed.wait()

    def number(self, wish: Wish) -> int:
        """Return how many such images were posted."""
        return self._numbers[wish]

    def _tell(self) -> None:
        self.wanted = frozenset(wish for wish, number in self._waiting.items() if number)
        for wish in self._posted.keys() - self.wanted:  # a browser that comes back wants a new one
            del self._posted[wish]
