"""pvAccess's values as plain Python: structures as dicts, numbers, text, lists, and arrays of numbers as numpy arrays."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from detectors.pva.encoding import NULL_SIZE, PvaError, Reader
from detectors.pva.introspection import (
    ANY,
    ARRAY_MASK,
    BOUNDED,
    BOUNDED_STRING,
    FIXED,
    NUMBERS,
    STRING,
    STRUCTURE,
    UNION,
    VARIABLE,
    FieldDesc,
    TypeCache,
)

MAX_NESTING: Final = 8


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


class Repeats:
    """The last bytes and value of each field of a structure: the same bytes are not decoded again.

    Most fields around an image repeat. Updates then share the value, and it must not be changed.
    """

    def __init__(self) -> None:
        self._big = False
        self._last: dict[str, tuple[bytes, Any]] = {}

    def read(self, reader: Reader, name: str, desc: FieldDesc, cache: TypeCache) -> Any:
        """Return the value of field ``name`` as ``read_value`` does."""
        if reader.big is not self._big:
            self._big = reader.big
            self._last.clear()
        # An encoding shows its own end: a field that starts with the same bytes has the same value.
        start = reader.pos
        data, value = self._last.get(name, _NOTHING)
        if data and reader.data[start : start + len(data)] == data:  # pyright: ignore[reportUnnecessaryComparison]
            reader.pos += len(data)
            return value
        ids = cache.id_uses
        value = read_value(reader, desc, cache)
        if cache.id_uses == ids:
            self._last[name] = bytes(reader.data[start : reader.pos]), value
        return value


_NOTHING: Final = (b"", None)


def read_changed(
    reader: Reader,
    desc: FieldDesc,
    changed: int,
    old: Mapping[str, Any],
    cache: TypeCache,
    *,
    bit: int = 0,
    skip: int = 0,
    repeats: Repeats | None = None,
) -> dict[str, Any]:
    """Return a copy of ``old``, the fields of structure ``desc``, in which those that ``changed`` marks are read anew.

    ``bit`` is the structure's own bit of the mask, which stands for all fields. The first ``skip`` fields were cut out
    of the bytes.
    """
    new = dict(old)
    whole = changed >> bit & 1
    bit += 1
    for number, (name, field) in enumerate(zip(desc.names, desc.fields, strict=True)):
        if number >= skip:
            if whole or changed >> bit & 1:
                new[name] = repeats.read(reader, name, field, cache) if repeats else read_value(reader, field, cache)
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
