import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from detectors.counters_page import CountersPage, PageError, read_page
from detectors.errors import HostError

FIRST = {"a.received": 0, "a.lost": 0, "a.outage_s": 0.0, "last.framenum": 0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.counters"


def test_what_was_put_is_read_by_name(path: Path):
    page = CountersPage.write(path, {"base": {"a.lost": -7}, "data": FIRST})
    assert read_page(path) == {"base": {"a.lost": -7}, "data": FIRST}
    page["data"].put(5, 6, 1.5, 2**64 - 1)
    page["base"].put(8)
    expected = {"a.received": 5, "a.lost": 6, "a.outage_s": 1.5, "last.framenum": 2**64 - 1}
    assert read_page(path) == {"base": {"a.lost": 8}, "data": expected}
    assert path.stat().st_mode & 0o777 == 0o600


def test_there_is_no_page(path: Path):
    assert read_page(path) is None


def test_a_new_page_takes_the_place_of_the_old_one_at_once(path: Path):
    old = CountersPage.write(path, {"data": FIRST})
    CountersPage.write(path, {"data": {"b": 3}})
    old["data"].put(1, 1, 1, 1)
    assert read_page(path) == {"data": {"b": 3}}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("after", [0, 1, 8, 9, 24, 39])
def test_a_put_that_was_cut_off_anywhere_leaves_the_values_before(path: Path, after: int):
    """Each put writes the copy whose turn it is not, byte after byte, and the turn last: here only the first bytes."""
    page = CountersPage.write(path, {"data": FIRST})
    page["data"].put(1, 2, 3.0, 4)
    page["data"].put(5, 6, 7.0, 8)
    block, whole = page["data"], path.read_bytes()
    block.put(50, 60, 70.0, 80)
    then = path.read_bytes()
    changed = [i for i in range(len(whole)) if whole[i] != then[i]]
    turn = changed[0]
    copy = [i for i in changed if i >= turn + 8]
    torn = bytearray(whole)
    torn[min(copy) : min(copy) + after] = then[min(copy) : min(copy) + after]
    path.write_bytes(torn)
    assert read_page(path) == {"data": {"a.received": 5, "a.lost": 6, "a.outage_s": 7.0, "last.framenum": 8}}


def test_a_process_killed_while_it_puts_leaves_whole_values(path: Path):
    code = f"""
        from pathlib import Path
        from detectors.counters_page import CountersPage
        block = CountersPage.write(Path({str(path)!r}), {{"data": {{f"v{{i}}": 0 for i in range(100)}}}})["data"]
        print("up", flush=True)
        n = 0
        while True:
            n += 1
            block.put(*[n] * 100)
    """
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
        assert child.stdout
        child.stdout.readline()
        for _ in range(20):  # of a process that goes on, too
            blocks = read_page(path)
            assert blocks is not None
            assert len(set(blocks["data"].values())) == 1
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        blocks = read_page(path)
        assert blocks is not None
        assert len(set(blocks["data"].values())) == 1


def damage(path: Path, how: str) -> None:
    page = path.read_bytes()
    length = struct.unpack_from("<QII", page)[2]
    start = -(-(16 + length) // 8) * 8
    changed = {
        "empty": b"",
        "header": page[:12],
        "short": page[: start + 20],
        "info": page[:20] + b"\xff" + page[21:],
        "list": page[:16] + json.dumps([1]).encode().ljust(length) + page[16 + length :],
        "magic": b"\0" + page[1:],
        "version": page[:8] + b"\x63" + page[9:],
        "turn": page[:start] + struct.pack("<Q", 77) + page[start + 8 :],
        "length": page[:12] + struct.pack("<I", 2**31) + page[16:],
    }
    path.write_bytes(changed[how])


@pytest.mark.parametrize("how", ["empty", "header", "short", "info", "list", "magic", "version", "turn", "length"])
def test_a_damaged_page_is_refused(path: Path, how: str):
    CountersPage.write(path, {"data": FIRST})
    damage(path, how)
    with pytest.raises(PageError, match=str(path)):
        read_page(path)


def test_a_page_that_cannot_be_made(tmp_path: Path):
    with pytest.raises(HostError, match="counters page cannot be made: No such file or directory"):
        CountersPage.write(tmp_path / "none" / "x", {"data": FIRST})
