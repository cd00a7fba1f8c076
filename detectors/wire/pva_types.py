"""pvAccess's descriptions of types ("introspection"): parsed once a subscription, with the connection's cache."""

from dataclasses import dataclass
from typing import Final

from detectors.errors import WireError
from detectors.wire.pva_codec import Reader

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
"""Most fields of one type, and of all types that a connection keeps: areaDetector's have under a hundred."""


@dataclass(frozen=True, slots=True)
class FieldDesc:
    """One type. ``bits`` is how many places of a change mask it takes: one, and those of a structure's fields."""

    code: int
    id: str = ""
    names: tuple[str, ...] = ()
    fields: tuple["FieldDesc", ...] = ()
    """Of a structure or union; the element's type, alone, of an array of either."""
    bound: int = 0
    """Most elements of a bounded array, all elements of a fixed one, most bytes of a bounded string."""
    bits: int = 1
    depth: int = 0
    """Levels of types below it."""
    packed: str = ""
    """struct's codes of a structure of nothing but numbers, which is read at once."""

    @property
    def element(self) -> int:
        """Type code without the array flags."""
        return self.code & ~ARRAY_MASK

    @property
    def is_number_array(self) -> bool:
        """Whether it is an array of numbers."""
        return self.code < STRUCTURE and self.code & ARRAY_MASK != 0 and self.element in NUMBERS


class TypeCache:
    """The types of one connection, by the ids that the server gave them; bounded whatever it sends.

    Variants bring their types along with every update, often without an id: such a type is gone after its value.
    """

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[FieldDesc, int]] = {}
        """And how many fields were described for it."""
        self._kept = 0
        """Fields of all types with an id."""
        self._described_now = 0
        """Fields of the description that is being read."""
        self.id_uses = 0
        """Ids met so far: what makes it grow depends on more than its own bytes."""

    def read(self, reader: Reader, depth: int = 0) -> FieldDesc | None:
        """Return the type at the reader, None for "no type". Raises WireError."""
        if depth > MAX_DEPTH:
            raise WireError(f"pvAccess: found a type nested deeper than {MAX_DEPTH}")
        if depth == 0:
            self._described_now = 0
        code = reader.u8()
        if code == _NULL:
            return None
        if code == _ONLY_ID:
            self.id_uses += 1
            key = reader.number("H")
            if key not in self._by_id:
                raise WireError(f"pvAccess: found type id {key}, expected one that was described before")
            return self._by_id[key][0]
        if code == _WITH_ID:
            self.id_uses += 1
            return self._keep(reader, depth)
        self._described_now += 1
        if self._described_now > MAX_FIELDS:
            raise WireError(f"pvAccess: found a type of more than {MAX_FIELDS} fields")
        reader.spend()
        return self._described(reader, code, depth)

    def _keep(self, reader: Reader, depth: int) -> FieldDesc:
        """Read an id and the type that it shall stand for from now on."""
        key, before = reader.number("H"), self._described_now
        described = self.read(reader, depth + 1)
        if described is None:
            raise WireError(f"pvAccess: found no type for id {key}")
        count = self._described_now - before
        self._kept += count - self._by_id.get(key, (None, 0))[1]
        if self._kept > MAX_FIELDS:
            raise WireError(f"pvAccess: found more than {MAX_FIELDS} fields described on one connection")
        self._by_id[key] = described, count
        return described

    def _described(self, reader: Reader, code: int, depth: int) -> FieldDesc:
        if code in (STRUCTURE, UNION):
            return self._composite(reader, code, depth)
        if code in (STRUCTURE | VARIABLE, UNION | VARIABLE):
            element = self._needed(reader, depth)
            if element.code != code & ~VARIABLE:
                raise WireError(f"pvAccess: found an array {code:#x} of type {element.code:#x}")
            return FieldDesc(code, fields=(element,), depth=_depth(element))
        if code in (ANY, ANY | VARIABLE):
            return FieldDesc(code)
        if code == BOUNDED_STRING:
            return FieldDesc(code, bound=_bound(reader))
        if code < STRUCTURE and (code & ~ARRAY_MASK in NUMBERS or code & ~ARRAY_MASK == STRING):
            return FieldDesc(code, bound=_bound(reader) if code & BOUNDED else 0)
        raise WireError(f"pvAccess: found type code {code:#04x}, which there is not")

    def _composite(self, reader: Reader, code: int, depth: int) -> FieldDesc:
        type_id = reader.string()
        names: list[str] = []
        fields: list[FieldDesc] = []
        for _ in range(reader.count()):
            names.append(reader.string())
            fields.append(self._needed(reader, depth))
        if len(set(names)) != len(names):
            raise WireError(f"pvAccess: found fields of one name in {type_id!r}: {', '.join(sorted(names))[:200]}")
        bits = 1 + sum(f.bits for f in fields) if code == STRUCTURE else 1
        if bits > MAX_FIELDS:  # types by id can be nested to any size at no cost to the sender
            raise WireError(f"pvAccess: found a structure of {bits} fields, expected at most {MAX_FIELDS}")
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
            raise WireError("pvAccess: found no type, expected that of a field")
        return described


def _depth(*fields: FieldDesc) -> int:
    """Return the depth of a type of ``fields``: those known by id can be nested without nesting their descriptions."""
    depth = 1 + max((f.depth for f in fields), default=0)
    if depth > MAX_DEPTH:
        raise WireError(f"pvAccess: found a type nested deeper than {MAX_DEPTH}")
    return depth


def _bound(reader: Reader) -> int:
    bound = reader.size()
    if bound < 0:
        raise WireError("pvAccess: found a null bound, expected a count")
    return bound
