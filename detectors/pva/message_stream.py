"""From a TCP stream to pvAccess messages; the large array of a message is received in its final place.

No sockets here. The caller receives into the memory of ``want()``, calls ``received()`` with the number of bytes, and
then ``next()`` until that returns None. Small messages pass through a staging buffer; of a large array only the first
bytes do, the rest goes straight into the caller's memory, segment by segment. ``supply(None)`` skips an array: it is
received into a scratch buffer that is used over and over.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.pva.encoding import PvaError, TruncatedError
from detectors.pva.messages import HEADER_BYTES, Header, read_header

STAGING_BYTES: Final = 16 << 10
"""Holds the fields behind an image and the head of the next one."""

_SCRATCH_BYTES: Final = 256 << 10

MAX_BODY_BYTES: Final = 16 << 20
"""Longest message without its array; tens of thousands of attributes would fit."""

_HEAD_STEP: Final = 48  # an array starts about here; bytes taken beyond that are copied twice
_HEAD_LIMIT: Final = 4096


@dataclass(frozen=True, slots=True)
class ArrayBegins:
    """The array of a message begins, and must be supplied with memory."""

    name: str
    """Member of the union, "" when there is no union."""
    dtype: np.dtype
    """On the wire, byte order included."""
    count: int
    offset: int
    """Where it starts in the message's body."""

    @property
    def nbytes(self) -> int:
        """Bytes on the wire."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message; the bytes of its array, if it had one, are left out of the body."""

    header: Header
    body: bytearray
    array: ArrayBegins | None = None


class MessageStream:
    """Cuts one direction of a connection into messages.

    ``find_array`` reads the head of a message: it returns its array, None when it has none, or raises TruncatedError when
    it needs more bytes. Every method raises PvaError on bytes that are not pvAccess; the stream has ended then.
    """

    def __init__(self, find_array: Callable[[Header, memoryview], ArrayBegins | None]) -> None:
        self._find_array = find_array
        self._staging = memoryview(bytearray(STAGING_BYTES))
        self._start = self._end = 0
        self._items = self._parse()
        self._in_message = False
        self._header: Header = Header(0, 0)
        """Of the message's present segment."""
        self._left = 0
        """Bytes of this segment that are still to be received or staged."""
        self._body = bytearray()
        self._array: ArrayBegins | None = None
        """The array being received; ``_array_at`` of its bytes are in ``_memory``, or skipped when that is None."""
        self._array_at = 0
        self._memory: memoryview | None = None
        self._unsupplied = False
        self._last_head: tuple[Header, bytes, ArrayBegins] | None = None
        """Of the last whole message with an array: its header, and its body up to the array."""
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._direct = 0
        """Bytes of the last ``want()`` that lie outside of the staging buffer."""

    @property
    def mid_message(self) -> bool:
        """Whether a message has begun and not ended: a silence now is a stall."""
        return self._in_message or self._end > self._start

    @property
    def mid_array(self) -> bool:
        """Whether an array is being received, so that all of ``want()`` will be filled."""
        return self._array is not None and self._left > 0 and self._start == self._end

    def want(self) -> list[memoryview]:
        """Return the memory to receive into next, in order."""
        self._direct = 0
        staged = self._staging[self._start : self._end].tobytes()  # nothing, or part of a header: make room behind it
        self._start, self._end = 0, len(staged)
        self._staging[: self._end] = staged
        if self._array is None or not self.mid_array:
            return [self._staging[self._end :]]
        self._direct = min(self._left, self._array.nbytes - self._array_at)
        if self._memory is None:
            wanted = self._scratch[: self._direct]
            self._direct = wanted.nbytes
            return [wanted]
        wanted = [self._memory[self._array_at : self._array_at + self._direct]]
        if self._direct == self._left and not self._header.last:
            wanted.append(self._staging[:HEADER_BYTES])  # the next segment's header, in the same call
        return wanted

    def received(self, nbytes: int) -> None:
        """Account for ``nbytes`` received into the memory of ``want()``."""
        direct = min(nbytes, self._direct)
        self._array_at += direct
        self._left -= direct
        self._direct -= direct
        self._end += nbytes - direct

    def supply(self, memory: memoryview | None) -> None:
        """Give the memory for the array that ``next()`` just returned; None skips it."""
        array = self._array
        if not self._unsupplied or array is None:
            raise RuntimeError("supply() without an array that begins")
        if memory is not None and memory.nbytes != array.nbytes:
            raise RuntimeError(f"supply() of {memory.nbytes} bytes for an array of {array.nbytes}")
        self._memory, self._unsupplied = memory, False
        early = self._body[array.offset : array.offset + array.nbytes]
        if memory is not None:
            memory[: len(early)] = early
        self._array_at = len(early)
        del self._body[array.offset : array.offset + len(early)]

    def next(self) -> Message | ArrayBegins | None:
        """Return the next message, or the array that begins in it; None when more bytes are needed."""
        if self._unsupplied:
            raise RuntimeError("next() before supply()")
        return next(self._items)

    def close(self) -> None:
        """Release the caller's memory."""
        self._items.close()
        self._memory = self._array = None

    def _parse(self) -> Generator[Message | ArrayBegins | None, None, None]:
        """Yield what ``next()`` returns, message after message."""
        while True:
            header = yield from self._next_header()
            if header.control:
                yield Message(header, bytearray())
                continue
            if not header.first:
                raise PvaError("pvAccess: found the middle of a message, expected its beginning")
            self._in_message, self._header, self._left, self._body = True, header, header.size, bytearray()
            array = yield from self._next_array()
            if array is not None:
                self._array, self._unsupplied = array, True
                yield array
                yield from self._fill_array(array)
                self._array = self._memory = None
            while self._left or not self._header.last:
                if len(self._body) + self._left > MAX_BODY_BYTES:
                    raise PvaError(
                        f"pvAccess: found {len(self._body) + self._left} bytes of a message without an array"
                    )
                yield from self._fill_body(self._left)
            self._in_message = False
            yield Message(header, self._body, array)

    def _next_array(self) -> Generator[None, None, ArrayBegins | None]:
        """Return the message's array, None when it has none, staging no more of the body than it takes to know."""
        if (array := self._same_array()) is not None:
            return array
        while True:
            if self._left or not self._header.last:
                yield from self._fill_body(_HEAD_STEP)
            try:
                with memoryview(self._body) as head:
                    array = self._find_array(self._header, head)
            except TruncatedError:
                if len(self._body) > _HEAD_LIMIT or (self._header.last and not self._left):
                    raise
                continue
            if array is not None and self._header.last and array.nbytes > len(self._body) - array.offset + self._left:
                raise PvaError(f"pvAccess: found an array of {array.nbytes} bytes in a message of {self._header.size}")
            if array is not None and self._header.last:
                self._last_head = self._header, bytes(self._body[: array.offset]), array
            return array

    def _same_array(self) -> ArrayBegins | None:
        """Return the array of a message that begins with the same bytes as the last one that had one, else None."""
        if self._last_head is None or self._last_head[0] != self._header:
            return None
        _, head, array = self._last_head
        stop = self._start + len(head)
        if stop > self._end or self._staging[self._start : stop].tobytes() != head:
            return None
        self._start = stop
        self._left -= len(head)
        self._body += head
        return array

    def _fill_array(self, array: ArrayBegins) -> Generator[None, None, None]:
        """Go on until the array is complete, and move those of its bytes that were staged."""
        while self._array_at < array.nbytes:
            if not self._left:
                if self._header.last:
                    raise PvaError("pvAccess: found the end of a message in the middle of its array")
                yield from self._next_segment()
            elif self._start == self._end:
                yield None
            else:
                staged = self._take(min(self._left, array.nbytes - self._array_at))
                if self._memory is not None:
                    self._memory[self._array_at : self._array_at + staged.nbytes] = staged
                self._array_at += staged.nbytes
                self._left -= staged.nbytes

    def _fill_body(self, most: int) -> Generator[None, None, None]:
        """Move some bytes, up to ``most``, to the body; or begin the next segment."""
        if not self._left:
            yield from self._next_segment()
            return
        while self._start == self._end:
            yield None
        staged = self._take(min(self._left, most))
        self._body += staged
        self._left -= staged.nbytes

    def _next_segment(self) -> Generator[None, None, None]:
        """Read the header of the message's next segment; control messages between segments mean nothing to us."""
        while (header := (yield from self._next_header())).control:
            pass
        if header.first or header.command != self._header.command or header.big != self._header.big:
            raise PvaError("pvAccess: found another message in the middle of a segmented one")
        self._header, self._left = header, header.size

    def _next_header(self) -> Generator[None, None, Header]:
        while self._end - self._start < HEADER_BYTES:
            yield None
        return read_header(self._take(HEADER_BYTES))

    def _take(self, most: int) -> memoryview:
        """Return the next staged bytes, up to ``most``."""
        start, self._start = self._start, min(self._end, self._start + most)
        return self._staging[start : self._start]
