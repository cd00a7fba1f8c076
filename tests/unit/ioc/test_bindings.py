from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.stats import ReceiverStatus
from ioc.bindings import DatabaseError, StaticRecord, bind, field_types

OWNERS = {"udp.M00": field_types(ReceiverStatus()), "ioc": {"text": str}}


def reading(kind: str = "int64in", status: str = "packets.lost udp.M00", **fields: str) -> StaticRecord:
    found = {"DTYP": "Python", "INP": "@X", "SCAN": "I/O Intr", **fields}
    return StaticRecord(kind, "X", {k: v for k, v in found.items() if v}, {"pebbledaq:status": status})


def setpoint(command: str = "enable udp.M00", kind: str = "bo", tag: str = "command", **fields: str) -> StaticRecord:
    link = "INP" if kind == "waveform" else "OUT"
    return StaticRecord(kind, "Y", {"DTYP": "Python", link: "@Y", **fields}, {f"pebbledaq:{tag}": command})


def problem(*records: StaticRecord, handlers: tuple[str, ...] = ()) -> str:
    with pytest.raises(DatabaseError) as caught:
        bind(records, OWNERS, handlers)
    return str(caught.value)


def test_records_find_their_fields_and_handlers() -> None:
    soft = StaticRecord("calc", "Z", {"INPA": "X CPP"})
    found = bind([reading(), setpoint(), soft], OWNERS, ["enable"])
    assert [(b.field, b.owner) for b in found.status] == [("packets.lost", "udp.M00")]
    assert [(b.handler, b.words, b.trigger) for b in found.commands] == [("enable", ("udp.M00",), False)]


def test_a_trigger_is_told_from_a_command() -> None:
    found = bind([setpoint("transition Enable", tag="trigger")], OWNERS, ["transition"])
    assert [(b.handler, b.words, b.trigger) for b in found.commands] == [("transition", ("Enable",), True)]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("int64in", "recent.packets.lost udp.M00"),
        ("ai", "rates.frames_hz udp.M00"),
        ("ai", "packets.lost udp.M00"),
        ("bi", "disk.enabled udp.M00"),
        ("mbbi", "state udp.M00"),
        ("stringin", "version udp.M00"),
        ("stringin", "text ioc"),
    ],
)
def test_types_that_a_record_can_show(kind: str, status: str) -> None:
    assert len(bind([reading(kind, status)], OWNERS, []).status) == 1


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (reading(status="packets.lots udp.M00"), "X: bound to 'packets.lots', which udp.M00 does not have"),
        (reading(status="packets.lost udp.M07"), "X: found the owner 'udp.M07', expected one of udp.M00, ioc"),
        (reading(status="packets.lost"), "X: found the owner '', expected one of udp.M00, ioc"),
        (reading(status=""), "X: found the owner '', expected one of udp.M00, ioc"),
        (reading(status="recent.state udp.M00"), "X: bound to 'recent.state', which udp.M00 does not have"),
        (reading(status="state udp.M00"), "X: a record of type int64in cannot show 'state', which is str"),
        (reading("bi"), "X: a record of type bi cannot show 'packets.lost', which is int"),
        (reading("int64in", "disk.enabled udp.M00"), "cannot show 'disk.enabled', which is bool"),
        (reading(INP="@Z"), "X: found INP '@Z', expected '@X'"),
        (reading(SCAN=""), "X: found SCAN Passive, expected I/O Intr"),
        (reading("waveform", "state udp.M00"), "X: found DTYP Python, expected PythonLongStringIn"),
        (reading(DTYP="Soft Channel"), "X: found DTYP 'Soft Channel' with 1 pebbledaq tags"),
        (StaticRecord("ai", "X", {"DTYP": "Python"}), "X: found DTYP 'Python' with 0 pebbledaq tags"),
        (setpoint("enabel udp.M00"), "Y: bound to the handler 'enabel', which does not exist; there are enable"),
        (setpoint(OUT="@Z"), "Y: found OUT '@Z', expected '@Y'"),
        (setpoint(kind="bi", INP="@Y"), "Y: a record of type bi takes no commands"),
    ],
)
def test_each_mistake_has_its_line(record: StaticRecord, expected: str) -> None:
    assert expected in problem(record, setpoint(), handlers=("enable",))


def test_a_handler_without_record_is_a_mistake() -> None:
    assert problem(handlers=("enable",)) == "handler 'enable' is bound to no record; bind one or remove the handler"


def test_all_mistakes_are_told_at_once() -> None:
    assert len(problem(reading(INP="@Z"), setpoint("nothing"), handlers=("enable",)).splitlines()) == 3


@given(st.text(max_size=30), st.sampled_from(["status", "command", "trigger"]), st.sampled_from(["ai", "bo", "mbbi"]))
def test_whatever_a_tag_holds_it_binds_or_is_named(text: str, tag: str, kind: str) -> None:
    fields: dict[str, Any] = {"DTYP": "Python", "INP": "@Y", "OUT": "@Y", "SCAN": "I/O Intr"}
    record = StaticRecord(kind, "Y", fields, {f"pebbledaq:{tag}": text})
    try:
        named = [b.record.name for b in bind([record], OWNERS, []).status]
    except DatabaseError as error:
        named = [str(error).partition(":")[0]]
    assert named == ["Y"]
