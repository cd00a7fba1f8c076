"""pvAccess's descriptions of types ("introspection"), and the cache of them that each connection has."""

from dataclasses import dataclass
from typing import Final

from detectors.pva.encoding import PvaError, Reader

STRING: Final = 0x60
STRUCTURE: Final = 0x80
UNION: Final = 0x81
ANY: Final = 0x82
BOUNDED_STRING: Final = 0x83

ARRAY_MASK: Final = 0x18
VARIABLE: Final = 0x08
BOUNDED: Final = 0x10
FIXED: Final = 0x18

NUMBERS: Final = {
    0x00: "?",
    0x20: "b",
    0x21: "h",
    0x22: "i",
    0x23: "q",
    0x24: "B",
    0x25: "H",
    0x26: "I",
    0x27: "Q",
    0x42: "f",
    0x43: "d",
}
"""struct's code, which is numpy's too, of each number's type code."""

_NULL: Final = 0xFF
_ONLY_ID: Final = 0xFE
_WITH_ID: Final = 0xFD

MAX_DEPTH: Final = 24
MAX_FIELDS: Final = 20_000
"""Most fields of one type, and of all types that a connection keeps; areaDetector's types have under a hundred."""


@dataclass(frozen=True, slots=True)
class FieldDesc:
    """One type."""

    code: int
    id: str = ""
    names: tuple[str, ...] = ()
    fields: tuple["FieldDesc", ...] = ()
    """Of a structure or union; for an array of either, the element's type alone."""
    bound: int = 0
    """Most elements of a bounded array, all elements of a fixed one, most bytes of a bounded string."""
    bits: int = 1
    """Bits that it takes in a change mask: its own, and for a structure those of its fields."""
    depth: int = 0
    """Levels of types below it."""
    packed: str = ""
    """struct's codes of a structure that has only numbers: it is read in one call."""

    @property
    def element(self) -> int:
        """Type code without the array flags."""
        return self.code & ~ARRAY_MASK

    @property
    def is_number_array(self) -> bool:
        """Whether it is an array of numbers."""
        return self.code < STRUCTURE and self.code & ARRAY_MASK != 0 and self.element in NUMBERS


class TypeCache:
    """The types of one connection, by the ids that the server gave them; bounded in size.

    Variants carry their types with every update, often without an id: such a type is not kept.
    """

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[FieldDesc, int]] = {}
        """The type, and how many fields were described for it."""
        self._kept = 0
        """Fields of all types with an id."""
        self._described_now = 0
        """Fields of the description that is being read."""
        self.id_uses = 0
        """Ids read so far. A value during which it grows depends on more than its own bytes."""

    def read(self, reader: Reader, depth: int = 0) -> FieldDesc | None:
        """Return the type at the reader, None for the null type. Raises PvaError."""
        if depth > MAX_DEPTH:
            raise PvaError(f"pvAccess: found a type nested deeper than {MAX_DEPTH}")
        if depth == 0:
            self._described_now = 0
        code = reader.u8()
        if code == _NULL:
            return None
        if code == _ONLY_ID:
            self.id_uses += 1
            key = reader.number("H")
            if key not in self._by_id:
                raise PvaError(f"pvAccess: found type id {key}, expected one that was described before")
            return self._by_id[key][0]
        if code == _WITH_ID:
            self.id_uses += 1
            return self._keep(reader, depth)
        self._described_now += 1
        if self._described_now > MAX_FIELDS:
            raise PvaError(f"pvAccess: found a type of more than {MAX_FIELDS} fields")
        reader.spend()
        return self._described(reader, code, depth)

    def _keep(self, reader: Reader, depth: int) -> FieldDesc:
        """Read an id and the type that it stands for from now on."""
        key, before = reader.number("H"), self._described_now
        described = self._needed(reader, depth)
        count = self._described_now - before
        self._kept += count - self._by_id.get(key, (None, 0))[1]
        if self._kept > MAX_FIELDS:
            raise PvaError(f"pvAccess: found more than {MAX_FIELDS} fields described on one connection")
        self._by_id[key] = described, count
        return described

    def _described(self, reader: Reader, code: int, depth: int) -> FieldDesc:
        if code in (STRUCTURE, UNION):
            return self._composite(reader, code, depth)
        if code in (STRUCTURE | VARIABLE, UNION | VARIABLE):
            element = self._needed(reader, depth)
            if element.code != code & ~VARIABLE:
                raise PvaError(f"pvAccess: found an array {code:#x} of type {element.code:#x}")
            return FieldDesc(code, fields=(element,), depth=_depth(element))
        if code in (ANY, ANY | VARIABLE):
            return FieldDesc(code)
        if code == BOUNDED_STRING:
            return FieldDesc(code, bound=reader.length())
        if code < STRUCTURE and (code & ~ARRAY_MASK in NUMBERS or code & ~ARRAY_MASK == STRING):
            return FieldDesc(code, bound=reader.length() if code & BOUNDED else 0)
        raise PvaError(f"pvAccess: found the unknown type code {code:#04x}")

    def _composite(self, reader: Reader, code: int, depth: int) -> FieldDesc:
        type_id = reader.string()
        names: list[str] = []
        fields: list[FieldDesc] = []
        for _ in range(reader.count()):
            names.append(reader.string())
            fields.append(self._needed(reader, depth))
        if len(set(names)) != len(names):
            raise PvaError(f"pvAccess: found fields of the same name in {type_id!r}: {', '.join(sorted(names))[:200]}")
        bits = 1 + sum(f.bits for f in fields) if code == STRUCTURE else 1
        if bits > MAX_FIELDS:  # with ids, a few bytes describe a type of any size
            raise PvaError(f"pvAccess: found a structure of {bits} fields, expected at most {MAX_FIELDS}")
        packed = "".join(NUMBERS.get(f.code, " ") for f in fields) if code == STRUCTURE else " "
        return FieldDesc(
            code,
            type_id,
            tuple(names),
            tuple(fields),
            bits=bits,
            depth=_depth(*fields),
            packed="" if " " in packed else packed,
        )

    def _needed(self, reader: Reader, depth: int) -> FieldDesc:
        described = self.read(reader, depth + 1)
        if described is None:
            raise PvaError("pvAccess: found no type, expected that of a field or of an id")
        return described


def _depth(*fields: FieldDesc) -> int:
    """Return the depth of a type of ``fields``; ids allow nesting that no single description shows."""
    depth = 1 + max((f.depth for f in fields), default=0)
    if depth > MAX_DEPTH:
        raise PvaError(f"pvAccess: found a type nested deeper than {MAX_DEPTH}")
    return depth
