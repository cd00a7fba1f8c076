"""The primitives of pvAccess's encoding: numbers, sizes, strings, bit sets and error texts, in either byte order.

Source: the pvAccess protocol specification; where it is silent, what pvDataCPP and pvxs do.
"""

import struct
from typing import Any, Final

NULL_SIZE: Final = -1
"""What an encoded null reads as: an unselected union, a null string."""

MAX_STRING_BYTES: Final = 1 << 20

_SHORT_SIZES: Final = 254  # a first byte below it is the size itself; 254: a uint32 follows; 255: null
_LONG_SIZES: Final = 0x7FFF_FFFF  # a uint32 of this value announces a uint64


class PvaError(Exception):
    """The server sent what is not pvAccess, or refused; the connection cannot be used any more."""


class TruncatedError(PvaError):
    """The bytes end in the middle of a value: more are needed, or the sender gave a wrong length."""


class Reader:
    """A cursor over received bytes; every read is checked against their end.

    ``budget`` bounds how many Python objects one message may make, whatever sizes it names.
    """

    __slots__ = ("_order", "big", "budget", "data", "end", "nesting", "pos")

    def __init__(
        self, data: bytes | bytearray | memoryview, *, big: bool, pos: int = 0, budget: int = 1_000_000
    ) -> None:
        self.data = memoryview(data)
        self.pos = pos
        self.end = len(self.data)
        self.big = big
        self.budget = budget
        self._order = ">" if big else "<"
        self.nesting = 0
        """Variants around the value that is being read."""

    def take(self, nbytes: int) -> memoryview:
        """Return the next ``nbytes``."""
        start, self.pos = self.pos, self.pos + nbytes
        if self.pos > self.end:
            self.pos = start
            raise TruncatedError(f"pvAccess: found {self.end - start} bytes, expected {nbytes} more")
        return self.data[start : self.pos]

    def number(self, code: str) -> Any:
        """Return one number of struct's ``code``: int, float or bool."""
        return self.numbers(code)[0]

    def numbers(self, codes: str) -> tuple[int | float | bool, ...]:
        """Return as many numbers as there are codes."""
        codes = self._order + codes
        return struct.unpack(codes, self.take(struct.calcsize(codes)))

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

    def length(self) -> int:
        """Return a size that must not be null."""
        size = self.size()
        if size < 0:
            raise PvaError("pvAccess: found a null size, expected a number of elements")
        return size

    def count(self) -> int:
        """Return the number of elements of at least one byte each that follow."""
        size = self.length()
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

    def spend(self, values: int = 1) -> None:
        """Account for values about to be made."""
        self.budget -= values
        if self.budget < 0:
            raise PvaError("pvAccess: found more values in a message than it may have")


def encode_string(text: str, *, big: bool) -> bytes:
    """Return encoded text."""
    data = text.encode()
    size = bytes([len(data)]) if len(data) < _SHORT_SIZES else struct.pack(">BI" if big else "<BI", 254, len(data))
    return size + data
