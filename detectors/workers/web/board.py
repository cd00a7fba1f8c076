"""Images from the thread that makes them to the browsers that show them: the newest is on the board, older ones are gone."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Generator, Mapping
from typing import Literal, NamedTuple

Form = Literal["8", "16", "jpeg"]
"""What is made of an image: 8 or 16 bits for a canvas, or a picture."""


class Posted(NamedTuple):
    """What is on the board in one form."""

    number: int
    """Counts the images of this form."""
    message: bytes


class Board:
    """For the event loop; ``wanted`` may be read by any thread."""

    def __init__(self) -> None:
        self.wanted: frozenset[Form] = frozenset()
        """Forms that somebody waits for."""
        self.sent = self.skipped = 0
        self._waiting: Counter[Form] = Counter()
        self._numbers: Counter[Form] = Counter()
        self._posted: dict[Form, Posted] = {}
        self._changed = asyncio.Event()

    @property
    def browsers(self) -> int:
        """Browsers that show images."""
        return self._waiting["8"] + self._waiting["16"]

    @contextlib.contextmanager
    def waiting(self, form: Form) -> Generator[None]:
        """Let images of this form be made."""
        self._waiting[form] += 1
        self._tell()
        try:
            yield
        finally:
            self._waiting[form] -= 1
            self._tell()

    def post(self, messages: Mapping[Form, bytes]) -> None:
        """Put an image on the board, for those who wait."""
        for form in messages.keys() & self.wanted:
            self._numbers[form] += 1
            self._posted[form] = Posted(self._numbers[form], messages[form])
        self._changed.set()
        self._changed = asyncio.Event()

    async def next(self, form: Form, seen: int) -> Posted:
        """Return the newest image of a form, once there is one after number ``seen``."""
        while True:
            posted = self._posted.get(form)
            if posted and posted.number > seen:
                return posted
            await self._changed.wait()

    def number(self, form: Form) -> int:
        """Return how many images of a form were posted."""
        return self._numbers[form]

    def _tell(self) -> None:
        self.wanted = frozenset(form for form, number in self._waiting.items() if number)
        for form in self._posted.keys() - self.wanted:  # whoever comes back wants a new one
            del self._posted[form]
