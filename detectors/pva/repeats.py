"""Most of what surrounds an image repeats from update to update: the same bytes are not decoded again."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from detectors.pva.encoding import Reader
from detectors.pva.pvdata import NUMBERS, FieldDesc, TypeCache, read_changed, read_value

_NOTHING: Final = (b"", None)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A field of a fixed size: a number, or a structure of numbers."""

    name: str
    start: int
    layout: struct.Struct
    names: tuple[str, ...]
    """Of a structure."""


class Repeats:
    """The fields of the last update of a channel, and where each of them was.

    An update that differs from it in numbers only is read in a few steps. Of any other, a field with the same bytes as before
    has the same value. Updates share values, which must not be changed.
    """

    def __init__(self) -> None:
        self._big = False
        self._last: dict[str, tuple[bytes, Any]] = {}
        """The last bytes and value of each field."""
        self._spans: list[tuple[str, FieldDesc, int, int]] = []
        """The fields of the update that is being read, and where they start and end."""
        self._changed = -1
        """The bits of the last update if it is one that others can be compared with, else -1."""
        self._nbytes = 0
        self._same: list[tuple[int, bytes]] = []
        """Where its other fields are, from its first field, and their bytes."""
        self._numbers: list[_Numbers] = []

    def read(
        self, reader: Reader, desc: FieldDesc, changed: int, old: Mapping[str, Any], cache: TypeCache, *, skip: int
    ) -> dict[str, Any]:
        """Return the fields of the update at the reader as ``read_changed`` does; ``old`` are those of the last one."""
        if reader.big is not self._big:
            self._big, self._changed = reader.big, -1
            self._last.clear()
        if changed == self._changed and (fields := self._like_last(reader, old)) is not None:
            return fields
        self._spans, start, ids = [], reader.pos, cache.id_uses
        new = read_changed(reader, desc, changed, old, cache, skip=skip, read=self._read)
        self._changed = -1
        if cache.id_uses == ids and sum(end - begin for *_, begin, end in self._spans) == reader.pos - start:
            self._compare_with(reader, start, changed)
        return new

    def _read(self, reader: Reader, name: str, desc: FieldDesc, cache: TypeCache) -> Any:
        """Return the value of a field as ``read_value`` does."""
        # An encoding shows its own end: a field that starts with the same bytes has the same value.
        start = reader.pos
        data, value = self._last.get(name, _NOTHING)
        if data and reader.data[start : start + len(data)] == data:  # pyright: ignore[reportUnnecessaryComparison]
            reader.pos += len(data)
        else:
            ids = cache.id_uses
            value = read_value(reader, desc, cache)
            if cache.id_uses == ids:
                self._last[name] = bytes(reader.data[start : reader.pos]), value
        self._spans.append((name, desc, start, reader.pos))
        return value

    def _like_last(self, reader: Reader, old: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the fields at the reader if they differ from the last ones in numbers only."""
        data, at = reader.data, reader.pos
        if at + self._nbytes > reader.end:
            return None
        for start, same in self._same:
            if data[at + start : at + start + len(same)].tobytes() != same:
                return None
        new = dict(old)
        for field in self._numbers:
            values = field.layout.unpack_from(data, at + field.start)
            new[field.name] = dict(zip(field.names, values, strict=True)) if field.names else values[0]
        reader.pos = at + self._nbytes
        return new

    def _compare_with(self, reader: Reader, start: int, changed: int) -> None:
        """Compare the next updates with the one that was read."""
        self._changed, self._nbytes = changed, reader.pos - start
        self._numbers, self._same = [], []
        order, since = ">" if reader.big else "<", start
        for name, desc, begin, end in [*self._spans, ("", None, reader.pos, reader.pos)]:
            codes = desc and (desc.packed or NUMBERS.get(desc.code))
            if desc and not codes:
                continue
            if begin > since:
                self._same.append((since - start, bytes(reader.data[since:begin])))
            since = end
            if desc and codes:
                self._numbers.append(_Numbers(name, begin - start, struct.Struct(order + codes), desc.names))
