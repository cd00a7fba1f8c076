"""What the heap does is seen from outside: by the page faults that large blocks cost."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from detectors.pools import heap
from detectors.pools.heap import MMAP_MAX, TOP_PAD, tune_heap

FAULTS = """
import ctypes, resource
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def use_blocks(number):
    for block in [libc.malloc(1 << 20) for _ in range(number)]:
        ctypes.memset(block, 1, 1 << 20)
        libc.free(block)

for _ in range(3):
    use_blocks(8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use_blocks(8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(first: str) -> int:
    """Return the page faults of using 80 blocks of 1 MiB, after ``first`` was done."""
    program = f"{first}\n{FAULTS}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


def test_a_publisher_makes_zmq_use_memory_again() -> None:
    if not tune_heap({}):
        pytest.skip("this C library has no mallopt")
    publisher = "from detectors.outputs.zmq_module import ModulePublisher; p = ModulePublisher('inproc://heap', 1)"
    assert faults(publisher) < 50


def test_the_largest_trim_threshold_applies() -> None:
    if not tune_heap({}):
        pytest.skip("this C library has no mallopt")
    wants = "from detectors.pools.heap import *; tune_heap({MMAP_MAX: 0, TRIM_THRESHOLD: 1 << 30})"
    assert faults(f"{wants}; tune_heap({{TRIM_THRESHOLD: 1 << 16}})") < 50
    assert faults("from detectors.pools.heap import *; tune_heap({MMAP_MAX: 0, TRIM_THRESHOLD: 1 << 16})") > 1000


@pytest.mark.parametrize("library", [SimpleNamespace(), SimpleNamespace(mallopt=lambda option, _: option != TOP_PAD)])
def test_a_refused_option_returns_false(library: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: library)
    assert not tune_heap({MMAP_MAX: 0, TOP_PAD: 1})
