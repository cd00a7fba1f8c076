"""Every piece of softioc that we use beyond its public interface, in an IOC of its own."""

from typing import Any

import pytest

from tests.support.ioc_script import run_ioc_script

SCRIPT = """
import asyncio, ctypes, json, os, sys
from pathlib import Path
from ioc import epics, database
from ioc.access import ACCESS_FILE, substitutions
from epicscorelibs.ioc import dbCore
from softioc import softioc

template = Path(sys.argv[1])
template.write_text('''
record(bo, "$(P)Out") { info(pebbledaq:command, "go") }
record(waveform, "$(P)Text") { field(NELM, "100") info(pebbledaq:command, "say") }
''')
found = {}

async def main():
    database.load(template, {"P": "T:"})
    records = {r.name: r for r in database.connect()}
    epics.set_up()
    found["locks memory"] = ctypes.c_int.in_dll(dbCore, "dbThreadRealtimeLock").value
    go, begun, values = asyncio.Event(), asyncio.Event(), []

    async def on_update(value):
        values.append(value)
        begun.set()
        await go.wait()

    text = epics.make_device(records["T:Text"], initial_value="")
    setpoint = epics.make_device(records["T:Out"], on_update=on_update, blocking=True, always_update=True, initial_value=0)
    stopping = []
    epics.start(lambda: bool(stopping), ACCESS_FILE, substitutions())

    async def until(good):
        for _ in range(2000):
            if good():
                return True
            await asyncio.sleep(0.01)
        return False

    text.set("a text longer than the forty characters of a string")
    found["text"] = text.get()
    found["idle"] = bool(setpoint._record.PACT)
    await asyncio.to_thread(softioc.dbpf, "T:Out", "1")
    await begun.wait()
    found["busy"] = bool(setpoint._record.PACT)
    go.set()
    epics.refuse_put(setpoint, "not today, since this is a text longer than forty characters")
    found["ended"] = await until(lambda: not bool(setpoint._record.PACT))
    found["refused"] = setpoint._record.SEVR, setpoint._record.STAT, setpoint._record.AMSG
    epics.show(setpoint, 0)
    found["shown"] = setpoint.get(), setpoint._record.VAL, bool(setpoint._record.PACT)
    stopping.append(1)
    await asyncio.to_thread(softioc.dbpf, "T:Out", "1")
    await asyncio.sleep(0.1)
    found["calls"] = values

asyncio.run(main())
print(json.dumps(found), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_ioc_script(SCRIPT, tmp_path_factory.mktemp("epics"))


def test_memory_is_not_locked(found: dict[str, Any]) -> None:
    assert found["locks memory"] == 0


def test_a_device_of_a_long_text_is_made(found: dict[str, Any]) -> None:
    assert found["text"] == "a text longer than the forty characters of a string"


def test_a_record_is_busy_while_its_handler_runs(found: dict[str, Any]) -> None:
    assert (found["idle"], found["busy"], found["ended"]) == (False, True, True)


def test_a_write_is_handled_but_not_while_the_ioc_stops(found: dict[str, Any]) -> None:
    assert found["calls"] == [1]


def test_a_refused_put_leaves_an_alarm_with_its_reason(found: dict[str, Any]) -> None:
    assert found["refused"] == [1, 2, "not today, since this is a text longer "]


def test_a_value_is_shown_without_a_put(found: dict[str, Any]) -> None:
    assert found["shown"] == [0, 0, False]
