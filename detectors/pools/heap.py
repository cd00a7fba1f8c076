"""How the C heap of this process treats large blocks: libraries that we cannot give our own memory allocate there.

By default, glibc maps every large block separately and unmaps it when it is freed; its page faults cost more than its copy.
"""

import ctypes
from collections.abc import Mapping
from typing import Final

TRIM_THRESHOLD: Final = -1
TOP_PAD: Final = -2
MMAP_THRESHOLD: Final = -3
MMAP_MAX: Final = -4
ARENA_MAX: Final = -8
"""Options of mallopt(3), by the numbers of glibc's malloc.h."""

_kept = 0


def tune_heap(options: Mapping[int, int]) -> bool:
    """Set options of the heap for the whole process; False where there is no ``mallopt``, or it refuses.

    When several callers set how much freed memory is kept (TRIM_THRESHOLD), the largest value applies.
    """
    global _kept  # noqa: PLW0603  there is one heap
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = dict(options)
    if TRIM_THRESHOLD in wanted:
        _kept = wanted[TRIM_THRESHOLD] = max(_kept, wanted[TRIM_THRESHOLD])
    refused = [option for option, value in wanted.items() if not mallopt(option, value)]
    return not refused
