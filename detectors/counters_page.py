"""The counters page of a worker: a small file in shared memory that outlives its process, however that ends.

::

    0      magic u64, version u32, length of the info u32
    16     info, JSON: the blocks, each with the names and types of its values
    then   of each block: turn u64, copy 0, copy 1; a copy is its turn u64 and 8 bytes for each value

A block is written by one thread: first the copy whose turn it is not, then ``turn``, in one store. So a process killed at
any moment leaves every block whole. The page describes itself: one that was written by a program with fewer counters, or
others, is read by name.
"""

import json
import mmap
import os
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from detectors.errors import HostError

_MAGIC: Final = 0x31304E544E434250  # "PBCNTN01" in memory
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<QII")
_WORD: Final = 8
_TRIES: Final = 5

Values = dict[str, float]


class PageError(HostError):
    """A counters page that is damaged, or of another version."""


def code_of(name: str) -> str:
    """Return the type of a value: seconds are doubles, what a source counts uses all 64 bits, and the rest is signed."""
    return "d" if name.endswith("_s") else "Q" if name.endswith((".framenum", ".next_event", ".pulse_id")) else "q"


class Block:
    """One block of a page. For one thread."""

    def __init__(self, memory: memoryview, start: int, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._memory, self._words = memory, memory.cast("Q")
        self._turn, self._turn_word = 0, start // _WORD
        copy = struct.Struct(f"<Q{''.join(map(code_of, names))}")
        self._pack = copy.pack_into
        self._places = start + _WORD, start + _WORD + copy.size

    def put(self, *values: float) -> None:
        """Replace all values, in the order of ``names``."""
        self._turn = turn = self._turn + 1
        self._pack(self._memory, self._places[turn & 1], turn, *values)
        self._words[self._turn_word] = turn


class CountersPage:
    """The page of a running worker. ``write`` makes it, and puts it in the place of the one of an earlier life at once."""

    def __init__(self, path: Path, memory: mmap.mmap, blocks: Mapping[str, Block]) -> None:
        self.path = path
        self._memory = memory
        self._blocks = blocks

    @classmethod
    def write(cls, path: Path, blocks: Mapping[str, Mapping[str, float]]) -> Self:
        """Make a page of ``blocks`` by name, each with its first values by name. Raises HostError."""
        info = json.dumps({name: list(values) for name, values in blocks.items()}).encode()
        place = _after(info)
        size = place + sum(_size(len(values)) for values in blocks.values())
        new = path.with_name(f"{path.name}.new")
        try:
            with new.open("w+b") as file:
                os.fchmod(file.fileno(), 0o600)
                os.posix_fallocate(file.fileno(), 0, size)  # no room shows here, not as SIGBUS later
                memory = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise HostError(f"{new}: the counters page cannot be made: {error.strerror}; check its folder") from None
        _HEADER.pack_into(memory, 0, _MAGIC, _VERSION, len(info))
        memory[_HEADER.size : _HEADER.size + len(info)] = info
        view, made = memoryview(memory), dict[str, Block]()
        for name, values in blocks.items():
            made[name] = Block(view, place, list(values))
            made[name].put(*values.values())
            place += _size(len(values))
        new.replace(path)
        return cls(path, memory, made)

    def __getitem__(self, name: str) -> Block:
        """Return a block."""
        return self._blocks[name]


def read_page(path: Path) -> dict[str, Values] | None:
    """Return the values of each block of a page; None when there is no page. Raises PageError.

    The page of a running worker may change while it is read, and is then read again.
    """
    for _ in range(_TRIES - 1):
        with suppress(PageError):
            return _read(path)
    return _read(path)


def _read(path: Path) -> dict[str, Values] | None:
    try:
        page = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PageError(f"{path}: the counters page cannot be read: {error.strerror}") from None
    try:
        magic, version, length = _HEADER.unpack_from(page)
        if (magic, version) != (_MAGIC, _VERSION):
            raise PageError(f"{path}: found no counters page of version {_VERSION}")
        info = page[_HEADER.size : _HEADER.size + length]
        place, blocks = _after(info), dict[str, Values]()
        for block, names in json.loads(info).items():
            blocks[block] = _read_block(page, place, names)
            place += _size(len(names))
    except (struct.error, ValueError, TypeError, AttributeError) as error:
        raise PageError(f"{path}: the counters page is damaged: {error}") from None
    return blocks


def _read_block(page: bytes, place: int, names: list[str]) -> Values:
    """Return the values of a block by name. Raises ValueError when it is damaged."""
    copy = struct.Struct(f"<Q{''.join(map(code_of, names))}")
    (turn,) = struct.unpack_from("<Q", page, place)
    written, *values = copy.unpack_from(page, place + _WORD + (turn & 1) * copy.size)
    if written != turn or not turn:
        raise ValueError(f"found turn {written} in a block at turn {turn}")
    return dict(zip(names, values, strict=True))


def _after(info: bytes) -> int:
    """Return where the first block begins."""
    return -(-(_HEADER.size + len(info)) // _WORD) * _WORD


def _size(values: int) -> int:
    """Return the bytes of a block."""
    return _WORD + 2 * _WORD * (1 + values)
