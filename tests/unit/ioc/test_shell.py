"""The commands of ``run --shell``."""

import asyncio
from typing import Any

import pytest

from ioc.shell import HELP, Shell, answer

WORKERS: dict[str, dict[str, Any]] = {
    "udp.M00": {"state": "Receiving", "process.running": True, "process.pid": 17, "packets.lost": 3},
    "hdf5": {"state": "Idle", "process.running": False, "process.message": "killed by SIGKILL"},
}


def test_a_list_has_a_line_for_each_worker() -> None:
    first, second = answer(["list"], WORKERS).splitlines()
    assert first.split() == ["udp.M00", "Receiving", "pid", "17"]
    assert second.split(maxsplit=5) == ["hdf5", "not", "running", "pid", "-", "killed by SIGKILL"]


@pytest.mark.parametrize("name", ["M00", "udp.M00"])
def test_a_worker_is_shown_by_its_name_or_its_source_s(name: str) -> None:
    head, *fields = answer(["show", name], WORKERS).splitlines()
    assert head == "udp.M00"
    assert [line.split() for line in fields] == [
        ["packets.lost", "3"],
        ["process.pid", "17"],
        ["process.running", "True"],
        ["state", "Receiving"],
    ]


def test_a_mistake_is_one_line() -> None:
    assert answer(["show", "M07"], WORKERS) == "pebble show: found 'M07', expected one of udp.M00, hdf5"
    assert answer(["lisst"], WORKERS) == "pebble: found 'lisst', expected list, show NAME or help"
    assert answer([], WORKERS) == answer(["help"], WORKERS) == HELP


def test_other_lines_are_iocsh_s(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    stopped = asyncio.Event()
    shell = Shell(lambda: WORKERS, lines.append, stopped.set)
    for line in ("dbl", "", "pebble list"):
        shell.take(line)
    assert lines == ["dbl"]
    assert capsys.readouterr().out.startswith("udp.M00")
    assert not stopped.is_set()
    shell.take("exit")
    assert stopped.is_set()
