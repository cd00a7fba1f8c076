import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.stats import ReceiverStatus
from ioc.bindings import DatabaseError, StaticRecord, bind, device_fields, field_types

OWNERS = {"udp.M00": field_types(ReceiverStatus()), "ioc": {"text": str}}


def reading(kind: str = "int64in", status: str = "packets.lost udp.M00") -> StaticRecord:
    return StaticRecord(kind, "X", tags={"pebbledaq:status": status})


def setpoint(command: str = "enable udp.M00", kind: str = "bo", tag: str = "command") -> StaticRecord:
    return StaticRecord(kind, "Y", tags={f"pebbledaq:{tag}": command})


def problem(*records: StaticRecord, handlers: tuple[str, ...] = ()) -> str:
    with pytest.raises(DatabaseError) as caught:
        bind(records, OWNERS, handlers)
    return str(caught.value)


def test_records_find_their_fields_and_handlers() -> None:
    soft = StaticRecord("calc", "Z", {"INPA": "X CPP"})
    found = bind([reading(), setpoint(), soft], OWNERS, ["enable"])
    assert [(b.field, b.owner) for b in found.status] == [("packets.lost", "udp.M00")]
    assert [(b.handler, b.words, b.trigger) for b in found.commands] == [("enable", ("udp.M00",), False)]


def test_a_record_can_have_its_time_from_the_data() -> None:
    timed = StaticRecord("int64in", "X", tags={"pebbledaq:status": "pulse_id udp.M00", "pebbledaq:time": "data_ns"})
    assert bind([timed], OWNERS, []).status[0].time == "data_ns"
    assert device_fields(timed)["TSE"] == "-2"
    assert "TSE" not in device_fields(reading())
    wrong = StaticRecord("int64in", "X", tags={"pebbledaq:status": "pulse_id udp.M00", "pebbledaq:time": "state"})
    assert problem(wrong) == "X: found the time 'state', expected a field of udp.M00 in ns"


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
        (
            StaticRecord("bo", "X", tags={"pebbledaq:status": "state udp.M00", "pebbledaq:command": "enable"}),
            "X: found the tags pebbledaq:status, pebbledaq:command, expected one of them",
        ),
        (setpoint("enabel udp.M00"), "Y: bound to the handler 'enabel', which does not exist; there are enable"),
        (setpoint(kind="bi"), "Y: a record of type bi takes no commands"),
    ],
)
def test_each_mistake_has_its_line(record: StaticRecord, expected: str) -> None:
    assert expected in problem(record, setpoint(), handlers=("enable",))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (reading(), {"SCAN": "Event"}),
        (setpoint(), {"DTYP": "Python", "OUT": "@Y"}),
        (setpoint(tag="trigger"), {"DTYP": "Python", "OUT": "@Y"}),
        (
            reading("waveform"),
            {"SCAN": "Event", "FTVL": "CHAR"},
        ),
        (setpoint(kind="waveform"), {"DTYP": "PythonLongStringOut", "FTVL": "CHAR", "INP": "@Y"}),
        (StaticRecord("calc", "Z"), {}),
    ],
)
def test_the_tag_decides_the_device_support(record: StaticRecord, expected: dict[str, str]) -> None:
    assert device_fields(record) == expected


def test_a_handler_without_record_is_a_mistake() -> None:
    assert problem(handlers=("enable",)) == "handler 'enable' is bound to no record; bind one or remove the handler"


def test_all_mistakes_are_told_at_once() -> None:
    assert len(problem(reading("bi"), setpoint("nothing"), handlers=("enable",)).splitlines()) == 3


@given(st.text(max_size=30), st.sampled_from(["status", "command", "trigger"]), st.sampled_from(["ai", "bo", "mbbi"]))
def test_whatever_a_tag_holds_it_binds_or_is_named(text: str, tag: str, kind: str) -> None:
    record = StaticRecord(kind, "Y", tags={f"pebbledaq:{tag}": text})
    try:
        named = [b.record.name for b in bind([record], OWNERS, []).status]
    except DatabaseError as error:
        named = [str(error).partition(":")[0]]
    assert named == ["Y"]
