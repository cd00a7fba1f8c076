import json

import pytest

from ioc.bindings import DatabaseError, StaticRecord
from ioc.pvi import groups, members

STATUS, COMMAND, TRIGGER = ({f"pebbledaq:{tag}": "x"} for tag in ("status", "command", "trigger"))


def record(name: str, tags: dict[str, str] | None = None) -> StaticRecord:
    return StaticRecord("bo", f"D:{name}", tags=tags or {})


def head(part: str = "") -> StaticRecord:
    return record(f"{part}PVI_")


def test_the_tags_and_names_of_records_say_what_they_are_for() -> None:
    records = [
        head(),
        record("Acquire", COMMAND),
        record("Acquire_RBV", STATUS),
        record("AcquireBusy", COMMAND | {"pebbledaq:follows": "D:Acquire"}),
        record("Disk:On", COMMAND),
        record("Configure", TRIGGER),
        record("Load_RBV"),
        record("ArrayData", {"pebbledaq:array": "image1"}),
    ]
    assert members(records) == {
        "D:PVI": {
            "acquire": {"w": "D:Acquire", "r": "D:Acquire_RBV"},
            "disk_on": {"rw": "D:Disk:On"},
            "configure": {"x": "D:Configure"},
            "load": {"r": "D:Load_RBV"},
            "array_data": {"r": "D:ArrayData"},
        }
    }


def test_a_record_belongs_to_the_nearest_structure() -> None:
    records = [head(), head("J:"), head("J:cam1:"), record("X_RBV"), record("J:X_RBV"), record("J:cam1:X_RBV")]
    assert members([*records, record("cam1:X_RBV")]) == {
        "D:PVI": {"j": {"d": "D:J:PVI"}, "x": {"r": "D:X_RBV"}, "cam1_x": {"r": "D:cam1:X_RBV"}},
        "D:J:PVI": {"cam1": {"d": "D:J:cam1:PVI"}, "x": {"r": "D:J:X_RBV"}},
        "D:J:cam1:PVI": {"x": {"r": "D:J:cam1:X_RBV"}},
    }


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("PulseId", "pulse_id"),
        ("SWMRMode", "swmr_mode"),
        ("NDAttributesFile", "nd_attributes_file"),
        ("ArraySize0", "array_size0"),
        ("Pebble:InUse", "pebble_in_use"),
        ("PV0:Match", "pv0_match"),
    ],
)
def test_names_are_in_snake_case(name: str, member: str) -> None:
    assert list(members([head(), record(name + "_RBV")])["D:PVI"]) == [member]


def test_the_name_of_a_source_is_not_taken_apart() -> None:
    assert list(members([head(), head("JungfrauM0-left:")])["D:PVI"]) == ["jungfraum0_left"]


def test_a_reading_under_two_names_is_there_twice() -> None:
    assert members([head(), record("QueueUse", STATUS), record("QueueUse_RBV", STATUS)])["D:PVI"] == {
        "queue_use": {"r": "D:QueueUse"},
        "queue_use_rbv": {"r": "D:QueueUse_RBV"},
    }


@pytest.mark.parametrize("more", [[record("Version_RBV", STATUS)], [head("VERSION:")]])
def test_two_of_one_name_are_refused(more: list[StaticRecord]) -> None:
    with pytest.raises(DatabaseError, match=r"^D:PVI: .* are both version; give the source another name$"):
        members([head(), head("Version:"), *more])


def test_a_group_names_long_records_in_full() -> None:
    name = "M" * 50 + "_RBV"
    (tag,) = groups([head(), record(name)]).values()
    group = json.loads(tag)["D:PVI"]
    assert group["+id"] == "epics:nt/NTPVI:1.0"
    assert group["value.m" + "m" * 49 + ".r"] == {"+type": "const", "+const": f"D:{name}"}
