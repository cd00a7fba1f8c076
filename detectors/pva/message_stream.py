"""From a TCP stream to pvAccess messages; the large array of a message is received in its final place.

No sockets here. The caller receives into the memory of ``want()``, calls ``received()`` with the number of bytes, and
then ``next()`` until that returns None. Small messages pass through a staging buffer; of a large array only the first
bytes do, the rest goes straight into the caller's memory, segment by segment. ``supply(None)`` skips an array: it is
received into a scratch buffer that is used over and over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import numpy as np

from detectors.pva.encoding import PvaError, TruncatedError
from detectors.pva.messages import HEADER_BYTES, Header, read_header

STAGING_BYTES: Final = 16 << 10
"""Holds the fields behind an image and the head of the next one."""

SKIP_BYTES: Final = 256 << 10

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


class _Phase(Enum):
    HEADER = auto()
    BODY = auto()
    SUPPLY = auto()
    ARRAY = auto()


class MessageStream:
    """Cuts one direction of a connection into messages.

    ``find_array`` reads the head of a message: it returns its array, None when it has none, or raises TruncatedError when
    it needs more bytes. Every method raises PvaError on bytes that are not pvAccess.
    """

    def __init__(self, find_array: Callable[[Header, memoryview], ArrayBegins | None]) -> None:
        self._find_array = find_array
        self._staging = bytearray(STAGING_BYTES)
        self._view = memoryview(self._staging)
        self._start = self._end = 0
        self._phase = _Phase.HEADER
        self._header = Header(0, 0, 0)
        self._last = True
        self._left = 0
        """Bytes of this segment that are still to be received or staged."""
        self._body = bytearray()
        self._undecided = False
        """Whether an array may still be found in the body."""
        self._array: ArrayBegins | None = None
        self._memory: memoryview | None = None
        self._array_at = 0
        self._skip: memoryview | None = None
        self._direct = 0
        """Bytes of the last ``want()`` that lie outside of the staging buffer."""

    @property
    def mid_message(self) -> bool:
        """Whether a message has begun and not ended: a silence now is a stall."""
        return self._phase is not _Phase.HEADER or self._end > self._start

    @property
    def mid_array(self) -> bool:
        """Whether an array is being received, so that all of ``want()`` will be filled."""
        return self._phase is _Phase.ARRAY and self._left > 0 and self._start == self._end

    def want(self) -> list[memoryview]:
        """Return the memory to receive into next, in order."""
        self._direct = 0
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start:  # part of a header: make room behind it
            staged = self._view[self._start : self._end].tobytes()
            self._start, self._end = 0, len(staged)
            self._view[: self._end] = staged
        if not self.mid_array:
            return [self._view[self._end :]]
        assert self._array is not None
        self._direct = min(self._left, self._array.nbytes - self._array_at)
        if self._memory is None:
            if self._skip is None:
                self._skip = memoryview(bytearray(SKIP_BYTES))
            self._direct = min(self._direct, SKIP_BYTES)
            return [self._skip[: self._direct]]
        wanted = [self._memory[self._array_at : self._array_at + self._direct]]
        if self._direct == self._left and not self._last:
            wanted.append(self._view[:HEADER_BYTES])  # the next segment's header, in the same call
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
        if self._phase is not _Phase.SUPPLY or array is None:
            raise RuntimeError("supply() without an array that begins")
        if memory is not None and memory.nbytes != array.nbytes:
            raise RuntimeError(f"supply() of {memory.nbytes} bytes for an array of {array.nbytes}")
        self._memory, self._array_at, self._phase = memory, 0, _Phase.ARRAY
        early = memoryview(self._body)[array.offset :]
        taken = min(early.nbytes, array.nbytes)
        if memory is not None:
            memory[:taken] = early[:taken]
        self._array_at = taken
        early.release()
        del self._body[array.offset : array.offset + taken]

    def next(self) -> Message | ArrayBegins | None:
        """Return the next message, or the array that begins in it; None when more bytes are needed."""
        while True:
            if self._phase is _Phase.SUPPLY:
                raise RuntimeError("next() before supply()")
            if self._phase is _Phase.HEADER:
                if not self._begin():
                    return None
                if self._header.control:
                    self._phase = _Phase.HEADER
                    return Message(self._header, bytearray())
                continue
            if self._phase is _Phase.ARRAY and self._array is not None and self._array_at == self._array.nbytes:
                self._phase, self._memory = _Phase.BODY, None
                continue
            if self._left == 0:
                if self._last and self._phase is _Phase.ARRAY:
                    raise PvaError("pvAccess: found the end of a message in the middle of its array")
                if self._last and not self._undecided:
                    return self._finish()
                if not self._last and not self._next_segment():
                    return None
            if self._phase is _Phase.ARRAY:
                if self._left and not self._fill_array():
                    return None
                continue
            if self._undecided:
                if self._left and not self._fill_body(_HEAD_STEP):
                    return None
                array = self._decide()
                if array is not None:
                    return array
            elif self._left and not self._fill_body(self._left):
                return None

    def _decide(self) -> ArrayBegins | None:
        """Look for an array in the body so far."""
        view = memoryview(self._body)
        try:
            array = self._find_array(self._header, view)
        except TruncatedError:
            if len(self._body) > _HEAD_LIMIT or (self._last and self._left == 0):
                raise
            return None
        finally:
            view.release()
        self._undecided = False
        if array is None:
            return None
        if self._last and array.nbytes > len(self._body) - array.offset + self._left:
            raise PvaError(f"pvAccess: found an array of {array.nbytes} bytes in a message of {self._header.size}")
        self._array, self._phase = array, _Phase.SUPPLY
        return array

    def _fill_array(self) -> bool:
        """Move staged bytes to the array; False when there are none."""
        assert self._array is not None
        take = min(self._end - self._start, self._left, self._array.nbytes - self._array_at)
        if self._memory is not None:
            self._memory[self._array_at : self._array_at + take] = self._view[self._start : self._start + take]
        self._array_at += take
        self._consume(take)
        return take > 0

    def _fill_body(self, most: int) -> bool:
        """Move up to ``most`` staged bytes to the body; False when there are none."""
        if not self._undecided and len(self._body) + self._left > MAX_BODY_BYTES:
            raise PvaError(f"pvAccess: found a message of {len(self._body) + self._left} bytes without an array")
        take = min(self._end - self._start, self._left, most)
        self._body += self._view[self._start : self._start + take]
        self._consume(take)
        return take > 0

    def _consume(self, nbytes: int) -> None:
        self._start += nbytes
        self._left -= nbytes

    def _begin(self) -> bool:
        """Read the header of a new message; False when it is incomplete."""
        header = self._read_header()
        if header is None:
            return False
        if not header.control and not header.first:
            raise PvaError("pvAccess: found the middle of a message, expected its beginning")
        self._header, self._phase, self._array = header, _Phase.BODY, None
        if not header.control:
            self._left, self._last = header.size, header.last
            self._body, self._undecided = bytearray(), True
        return True

    def _next_segment(self) -> bool:
        """Read the header of the message's next segment; False when it is incomplete."""
        header = self._read_header()
        while header is not None and header.control:  # allowed between segments, and without meaning for us
            header = self._read_header()
        if header is None:
            return False
        if header.first or header.command != self._header.command or header.big != self._header.big:
            raise PvaError("pvAccess: found another message in the middle of a segmented one")
        self._left, self._last = header.size, header.last
        return True

    def _read_header(self) -> Header | None:
        if self._end - self._start < HEADER_BYTES:
            return None
        header = read_header(self._view[self._start : self._start + HEADER_BYTES])
        self._start += HEADER_BYTES
        return header

    def _finish(self) -> Message:
        self._phase = _Phase.HEADER
        return Message(self._header, self._body, self._array)
