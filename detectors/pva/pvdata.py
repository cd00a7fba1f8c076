"""pvData: types as a server describes them, the cache of them that each connection has, and values as plain Python.

Structures become dicts, arrays of numbers numpy arrays.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from detectors.pva.encoding import NULL_SIZE, PvaError, Reader

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

MAX_NESTING: Final = 8
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
        members = [(reader.string(), self._needed(reader, depth)) for _ in range(reader.count())]
        names, fields = tuple(name for name, _ in members), tuple(field for _, field in members)
        if len(set(names)) != len(names):
            raise PvaError(f"pvAccess: found fields of the same name in {type_id!r}: {', '.join(sorted(names))[:200]}")
        bits = 1 + sum(f.bits for f in fields) if code == STRUCTURE else 1
        if bits > MAX_FIELDS:  # with ids, a few bytes describe a type of any size
            raise PvaError(f"pvAccess: found a structure of {bits} fields, expected at most {MAX_FIELDS}")
        codes = "".join(NUMBERS.get(f.code, " ") for f in fields)
        packed = codes if code == STRUCTURE and " " not in codes else ""
        return FieldDesc(code, type_id, names, fields, bits=bits, depth=_depth(*fields), packed=packed)

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


def read_value(reader: Reader, desc: FieldDesc, cache: TypeCache) -> Any:
    """Return the whole value at the reader. Unselected unions and null elements are None. Raises PvaError."""
    reader.spend()
    code = desc.code
    if code in NUMBERS:
        return reader.number(NUMBERS[code])
    if code == STRING:
        return reader.string()
    if code == STRUCTURE:
        if desc.packed:
            reader.spend(len(desc.packed))
            return dict(zip(desc.names, reader.numbers(desc.packed), strict=True))
        return {name: read_value(reader, field, cache) for name, field in zip(desc.names, desc.fields, strict=True)}
    if code == UNION:
        member = selected(reader, desc)
        return None if member is None else read_value(reader, member[1], cache)
    if code == ANY:
        any_type = cache.read(reader)
        if any_type is None:
            return None
        reader.nesting += 1  # each variant in a variant takes one byte only
        if reader.nesting > MAX_NESTING:
            raise PvaError(f"pvAccess: found variants nested deeper than {MAX_NESTING}")
        value = read_value(reader, any_type, cache)
        reader.nesting -= 1
        return value
    if code == BOUNDED_STRING:
        text = reader.string()
        if len(text.encode()) > desc.bound:
            raise PvaError(f"pvAccess: found text of {len(text)} characters, expected at most {desc.bound} bytes")
        return text
    return _array(reader, desc, cache)


def read_changed(
    reader: Reader,
    desc: FieldDesc,
    changed: int,
    old: Mapping[str, Any],
    cache: TypeCache,
    *,
    bit: int = 0,
    skip: int = 0,
    read: Callable[[Reader, str, FieldDesc, TypeCache], Any] | None = None,
) -> dict[str, Any]:
    """Return a copy of ``old``, the fields of structure ``desc``, in which those that ``changed`` marks are read again.

    ``bit`` is the structure's own bit of the mask, which stands for all fields. The first ``skip`` fields were cut out
    of the bytes. ``read`` reads a field by its name, if not ``read_value``.
    """
    new = dict(old)
    whole = changed >> bit & 1
    bit += 1
    for number, (name, field) in enumerate(zip(desc.names, desc.fields, strict=True)):
        if number >= skip:
            if whole or changed >> bit & 1:
                new[name] = read(reader, name, field, cache) if read else read_value(reader, field, cache)
            elif field.code == STRUCTURE and changed >> bit & ((1 << field.bits) - 1):
                new[name] = read_changed(reader, field, changed, new.get(name) or {}, cache, bit=bit)
        bit += field.bits
    return new


def default_value(desc: FieldDesc) -> Any:
    """Return the value of a field that was never sent."""
    if desc.code == STRUCTURE:
        return {name: default_value(field) for name, field in zip(desc.names, desc.fields, strict=True)}
    if desc.code in (UNION, ANY):
        return None
    if desc.code in (STRING, BOUNDED_STRING):
        return ""
    if desc.code in NUMBERS:
        return np.dtype(NUMBERS[desc.code]).type(0).item()
    return np.zeros(0, NUMBERS[desc.element]) if desc.is_number_array else []


def selected(reader: Reader, desc: FieldDesc) -> tuple[str, FieldDesc] | None:
    """Return name and type of the union's member at the reader; None when none is selected."""
    number = reader.size()
    if number == NULL_SIZE:
        return None
    if number >= len(desc.fields):
        raise PvaError(f"pvAccess: found member {number} selected in a union of {len(desc.fields)}")
    return desc.names[number], desc.fields[number]


def array_length(reader: Reader, desc: FieldDesc) -> int:
    """Return how many elements of an array follow; a fixed array does not carry its length."""
    if desc.code < STRUCTURE and desc.code & ARRAY_MASK == FIXED:
        return desc.bound
    length = reader.length()
    if desc.code < STRUCTURE and desc.code & ARRAY_MASK == BOUNDED and length > desc.bound:
        raise PvaError(f"pvAccess: found {length} elements in an array bound to {desc.bound}")
    return length


def _array(reader: Reader, desc: FieldDesc, cache: TypeCache) -> Any:
    length = array_length(reader, desc)
    if desc.is_number_array:
        dtype = np.dtype(NUMBERS[desc.element]).newbyteorder(">" if reader.big else "<")
        return np.frombuffer(reader.take(length * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))
    reader.spend(length)
    if desc.element == STRING and desc.code < STRUCTURE:
        return [reader.string() for _ in range(length)]
    element = FieldDesc(ANY) if desc.code == ANY | VARIABLE else desc.fields[0]
    return [read_value(reader, element, cache) if reader.u8() else None for _ in range(length)]
