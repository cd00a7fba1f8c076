"""Records that are filled in and processed directly, in an IOC of their own."""

from typing import Any

import pytest

from tests.support.ioc_script import run_ioc_script

SCRIPT = """
import asyncio, ctypes, json, os, sys
from pathlib import Path
import numpy as np
from ioc import database, epics
from ioc.access import ACCESS_FILE, substitutions
from ioc.input_record import InputRecord
from softioc import fields, imports, softioc

template = Path(sys.argv[1])
template.write_text('''
record(ai, "T:Ai") { field(PREC, "3") info(pebbledaq:status, "x y") }
record(bi, "T:Bi") { field(ZNAM, "No") field(ONAM, "Yes") info(pebbledaq:status, "x y") }
record(mbbi, "T:Mbbi") { field(ZRST, "Off") field(ONST, "On") field(ONSV, "MAJOR") info(pebbledaq:status, "x y") }
record(longin, "T:Longin") { field(HIGH, "5") field(HSV, "MINOR") info(pebbledaq:status, "x y") }
record(int64in, "T:Int64in") { info(pebbledaq:status, "x y") info(pebbledaq:time, "t") }
record(stringin, "T:Stringin") { info(pebbledaq:status, "x y") }
record(waveform, "T:Text") { field(NELM, "100") info(pebbledaq:status, "x y") }
record(waveform, "T:Array") { field(NELM, "4") field(FTVL, "USHORT") info(pebbledaq:array, "x") }
record(calc, "T:Twice") { field(INPA, "T:Longin CP") field(CALC, "2*A") }
''')
database.load(template, {})
records = {record.name: record for record in database.connect()}
epics.set_up()
made = {name: InputRecord(record) for name, record in records.items() if name != "T:Twice"}
found = {}

def field(name):
    text = (ctypes.c_char * 40)()
    imports.db_get_field(name, fields.DBF_STRING, ctypes.addressof(text), 1)
    return text.value.decode()

def values(name):
    return field(name), field(name + ".SEVR"), field(name + ".STAT")

async def main():
    epics.start(lambda: False, ACCESS_FILE, substitutions())
    found["undefined"] = values("T:Longin"), made["T:Longin"].severity
    sets = {"Ai": -2.5, "Bi": True, "Mbbi": 1, "Longin": -7, "Int64in": 2**62 + 1, "Stringin": b"hello"}
    for name, value in sets.items():
        made["T:" + name].set(value)
    found["values"] = {name: values("T:" + name) for name in sets}
    made["T:Stringin"].set(b"x" * 39)
    found["long string"] = field("T:Stringin")
    made["T:Longin"].set(6)
    found["limit"] = values("T:Longin"), made["T:Longin"].severity
    made["T:Longin"].set(6, 3, 9)
    found["given"] = values("T:Longin"), made["T:Longin"].severity
    softioc.dbpf("T:Longin.HIGH", "4")
    found["after a put to its limit"] = values("T:Longin")
    made["T:Longin"].set(2)
    found["over"] = values("T:Longin"), made["T:Longin"].severity
    for _ in range(500):
        if field("T:Twice") == "4":
            break
        await asyncio.sleep(0.01)
    found["calc"] = field("T:Twice")
    made["T:Int64in"].set(1, time_ns=1_700_000_000_123_456_789)
    found["time"] = list(made["T:Int64in"]._time)
    made["T:Text"].set(np.frombuffer(b"a longer text\\0", np.int8))
    made["T:Text"].set(np.frombuffer(b"text\\0", np.int8))
    found["text"] = [field("T:Text.NORD"), bytes((ctypes.c_char * 5).from_address(made["T:Text"]._pointer.value)).decode()]
    made["T:Array"].set(np.array([1, 2, 65535], np.uint16), time_ns=1)
    found["array"] = [field("T:Array.NORD"), list((ctypes.c_uint16 * 3).from_address(made["T:Array"]._pointer.value))]

asyncio.run(main())
print(json.dumps(found), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_ioc_script(SCRIPT, tmp_path_factory.mktemp("epics"))


def test_a_record_is_undefined_until_it_is_set(shown: dict[str, Any]) -> None:
    assert shown["undefined"] == [["0", "INVALID", "UDF"], 3]


def test_values_of_all_types_are_shown(shown: dict[str, Any]) -> None:
    good = ["NO_ALARM", "NO_ALARM"]
    assert shown["values"] == {
        "Ai": ["-2.500", *good],
        "Bi": ["Yes", *good],
        "Mbbi": ["On", "MAJOR", "STATE"],
        "Longin": ["-7", *good],
        "Int64in": [str(2**62 + 1), *good],
        "Stringin": ["hello", *good],
    }
    assert shown["long string"] == "x" * 39


def test_the_severity_is_that_of_the_records_own_limits_or_the_given_one_if_it_is_worse(shown: dict[str, Any]) -> None:
    assert shown["limit"] == [["6", "MINOR", "HIGH"], 1]
    assert shown["given"] == [["6", "INVALID", "COMM"], 3]
    assert shown["over"] == [["2", "NO_ALARM", "NO_ALARM"], 0]


def test_a_put_to_a_limit_does_not_process_the_record(shown: dict[str, Any]) -> None:
    assert shown["after a put to its limit"] == ["6", "INVALID", "COMM"]


def test_records_that_follow_are_processed(shown: dict[str, Any]) -> None:
    assert shown["calc"] == "4"


def test_a_record_has_the_time_that_is_given(shown: dict[str, Any]) -> None:
    assert shown["time"] == [1_700_000_000 - 631_152_000, 123_456_789]


def test_a_text_and_an_array_have_the_length_of_the_last_value(shown: dict[str, Any]) -> None:
    assert shown["text"] == ["5", "text\0"]
    assert shown["array"] == ["3", [1, 2, 65535]]
