"""The primitives of pvAccess's encoding: numbers, sizes, strings, bit sets and error texts, in either byte order.

Source: the pvAccess protocol specification; where it is silent, what pvDataCPP and pvxs do.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

NULL_SIZE: Final = -1
"""What an encoded null reads as: an unselected union, a null string."""

MAX_STRING_BYTES: Final = 1 << 20
MAX_NESTING: Final = 8

_SHORT_SIZES: Final = 254  # a first byte below it is the size itself; 254: a uint32 follows; 255: null
_LONG_SIZES: Final = 0x7FFF_FFFF  # a uint32 of this value announces a uint64


class PvaError(Exception):
    """What the server sent is not pvAccess; the connection cannot be used any more."""


class TruncatedError(PvaError):
    """The bytes end in the middle of a value: more are needed, or the sender gave a wrong length."""


class Reader:
    """A cursor over received bytes; every read is checked against their end.

    ``budget`` bounds how many Python objects one message may make, whatever sizes it names.
    """

    __slots__ = ("_nesting", "_order", "big", "budget", "data", "end", "pos")

    def __init__(
        self, data: bytes | bytearray | memoryview, *, big: bool, pos: int = 0, budget: int = 1_000_000
    ) -> None:
        self.data = memoryview(data)
        self.pos = pos
        self.end = len(self.data)
        self.big = big
        self.budget = budget
        self._order = ">" if big else "<"
        self._nesting = 0

    def take(self, nbytes: int) -> memoryview:
        """Return the next ``nbytes``."""
        start, self.pos = self.pos, self.pos + nbytes
        if self.pos > self.end:
            self.pos = start
            raise TruncatedError(f"pvAccess: found {self.end - start} bytes, expected {nbytes} more")
        return self.data[start : self.pos]

    def number(self, code: str) -> Any:
        """Return one number of struct's ``code``: int, float or bool."""
        packed = _STRUCTS[self._order + code]
        return packed.unpack(self.take(packed.size))[0]

    def numbers(self, codes: str) -> tuple[int | float | bool, ...]:
        """Return as many numbers as there are codes."""
        packed = _packed(self._order + codes)
        return packed.unpack(self.take(packed.size))

    def u8(self) -> int:
        """Return one byte."""
        at = self.pos
        if at >= self.end:
            raise TruncatedError("pvAccess: found the end, expected one byte more")
        self.pos = at + 1
        return self.data[at]

    def size(self) -> int:
        """Return a size: a count of elements or bytes, a union's selector; NULL_SIZE for null."""
        first = self.u8()
        if first < _SHORT_SIZES:
            return first
        if first > _SHORT_SIZES:
            return NULL_SIZE
        size = self.number("I")
        return self.number("Q") if size == _LONG_SIZES else size

    def count(self) -> int:
        """Return a size that must not be null, of elements of at least one byte each."""
        size = self.size()
        if size < 0:
            raise PvaError("pvAccess: found a null size, expected a count of elements")
        if size > self.end - self.pos:
            raise TruncatedError(f"pvAccess: found {self.end - self.pos} bytes, expected {size} elements")
        return size

    def string(self) -> str:
        """Return text; bytes that are not UTF-8 are replaced, since servers pass on what drivers wrote."""
        size = self.size()
        if size > MAX_STRING_BYTES:
            raise PvaError(f"pvAccess: found a string of {size} bytes, expected at most {MAX_STRING_BYTES}")
        return bytes(self.take(size)).decode("utf-8", "replace") if size > 0 else ""

    def bit_set(self) -> int:
        """Return a bit set as a number: bit n of it is element n.

        Whole words of 64 bits follow the byte order, the bytes behind them do not, as in pvDataCPP and pvxs.
        """
        data = self.take(self.count())
        if not self.big:
            return int.from_bytes(data, "little")
        whole = len(data) // 8 * 8
        words = b"".join(bytes(data[i : i + 8][::-1]) for i in range(0, whole, 8))
        return int.from_bytes(words + bytes(data[whole:]), "little")

    def error(self) -> str:
        """Return the error text of a request's status; "" on success, a warning included."""
        kind = self.u8()
        if kind == 0xFF:
            return ""
        if kind > 3:
            raise PvaError(f"pvAccess: found status {kind}, expected 0 to 3 or 255")
        message = self.string()
        self.string()  # the server's call stack
        return "" if kind < 2 else message or "no reason given"

    @contextmanager
    def nested(self) -> Iterator[None]:
        """Bound the nesting of values that carry their own types."""
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise PvaError(f"pvAccess: found variants nested deeper than {MAX_NESTING}")
        yield
        self._nesting -= 1

    def spend(self, values: int = 1) -> None:
        """Account for values about to be made."""
        self.budget -= values
        if self.budget < 0:
            raise PvaError("pvAccess: found more values in a message than it may have")


@lru_cache(maxsize=256)
def _packed(codes: str) -> struct.Struct:
    return struct.Struct(codes)


_STRUCTS: Final = {order + code: struct.Struct(order + code) for order in "<>" for code in "?bhiqBHIQfd"}


class Packer:
    """Builds a message's body in one byte order."""

    def __init__(self, *, big: bool) -> None:
        self._order = ">" if big else "<"
        self._parts: list[bytes] = []

    def pack(self, codes: str, *values: int) -> "Packer":
        """Append numbers of struct's ``codes``."""
        self._parts.append(struct.pack(self._order + codes, *values))
        return self

    def raw(self, data: bytes) -> "Packer":
        """Append bytes as they are."""
        self._parts.append(data)
        return self

    def size(self, size: int) -> "Packer":
        """Append a size."""
        return self.pack("B", size) if size < _SHORT_SIZES else self.pack("BI", _SHORT_SIZES, size)

    def string(self, text: str) -> "Packer":
        """Append text."""
        data = text.encode()
        return self.size(len(data)).raw(data)

    def done(self) -> bytes:
        """Return all that was appended."""
        return b"".join(self._parts)
