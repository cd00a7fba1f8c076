"""The limits of ``[alarms]`` in the records."""

import ctypes

import pytest
from epicscorelibs.ioc import Com

from detectors.config import parse_config
from detectors.errors import ConfigError
from ioc.record_text import RecordText, records
from ioc.templates import loads


def served(alarms: str = "") -> dict[str, RecordText]:
    """The records of a module of 128 packets a frame, by name."""
    config = parse_config(
        '[detector]\nname = "D"\nprefix = "T:"\n[disk]\nfolder = "/tmp/d"\n'
        f'[[udp]]\nname = "M00"\nexpect_module_id = 0\nport = 5000\n[alarms]\n{alarms}'
    )
    return {record.name: record for load in loads(config) for record in records(load)}


def test_without_limits_alarms_are_those_of_losses() -> None:
    found = served()
    assert found["T:M00:PacketsLostRecently_RBV"].alarm == "MINOR from 1; MAJOR from 128"
    assert found["T:M00:Pebble:Fill_RBV"].alarm == ""
    assert found["T:M00:Disk:FreeLow_RBV"].fields["CALC"] == "A<=0?0:A<=0?2:A<=0?1:0"


def test_limits_reach_the_records() -> None:
    found = served(
        'pool_fill_minor = 62.5\npool_fill_major = 90\ndisk_free_minor = "2 GiB"\ndisk_free_major = "1 GiB"\n'
        "packets_lost_minor = 5\npackets_lost_major = 50\n"
    )
    assert found["T:M00:Pebble:Fill_RBV"].alarm == "MINOR from 62.5; MAJOR from 90"
    assert found["T:M00:Disk:FreeLow_RBV"].fields["CALC"] == f"A<=0?0:A<={2**30}?2:A<={2**31}?1:0"
    assert found["T:M00:PacketsLostRecently_RBV"].alarm == "MINOR from 5; MAJOR from 50"


HOST = '[control]\nport_base = 52000\ncurve_keys = "/keys"\n[[host]]\nname = "daq1"\n'


@pytest.mark.parametrize(
    ("alarms", "expected"),
    [
        ("", "MAJOR to -10; MINOR to -5; MINOR from 5; MAJOR from 10"),
        (
            "clock_offset_minor = 0.0005\nclock_offset_major = 0.001\n",
            "MAJOR to -1; MINOR to -0.5; MINOR from 0.5; MAJOR from 1",
        ),
    ],
)
def test_the_offset_of_a_clock_alarms_either_way(alarms: str, expected: str) -> None:
    assert served(alarms + HOST)["T:daq1:Clock:Offset_RBV"].alarm == expected


@pytest.mark.parametrize(
    ("record", "values", "expected"),
    [
        ("Disk:FreeLow_RBV", [0], 0),
        ("Disk:FreeLow_RBV", [2**30], 2),
        ("Disk:FreeLow_RBV", [2**30 + 1], 1),
        ("Disk:FreeLow_RBV", [2**31 + 1], 0),
        ("Pebble:Fill_RBV", [128, 32], 25),
        ("Pebble:Fill_RBV", [0, 0], 0),
    ],
)
def test_epics_calculates_as_meant(record: str, values: list[float], expected: float) -> None:
    text = served('disk_free_minor = "2 GiB"\ndisk_free_major = "1 GiB"')[f"T:M00:{record}"].fields["CALC"]
    postfix, error, result = ctypes.create_string_buffer(1000), ctypes.c_short(), ctypes.c_double()
    assert Com.postfix(text.encode(), postfix, ctypes.byref(error)) == 0, error.value
    arguments = (ctypes.c_double * 21)(*values)
    assert Com.calcPerform(arguments, ctypes.byref(result), postfix) == 0
    assert result.value == expected


def test_one_limit_alone_leaves_the_other_off() -> None:
    assert served("pool_fill_major = 90")["T:M00:Pebble:Fill_RBV"].alarm == "MAJOR from 90"
    assert served('disk_free_minor = "1 GiB"')["T:M00:Disk:FreeLow_RBV"].fields["CALC"].startswith("A<=0?0:A<=0?2:")


def test_a_minor_limit_above_a_frame_is_not_major_before_it() -> None:
    assert (
        served("packets_lost_minor = 1000")["T:M00:PacketsLostRecently_RBV"].alarm == "MINOR from 1000; MAJOR from 1000"
    )


@pytest.mark.parametrize(
    ("alarms", "expected"),
    [
        ("pool_fill_minor = 90\npool_fill_major = 90", "alarms: found pool_fill_minor 90 and pool_fill_major 90"),
        (
            "packets_lost_minor = 9\npackets_lost_major = 3",
            "alarms: found packets_lost_minor 9 and packets_lost_major 3",
        ),
        ("disk_free_minor = 1\ndisk_free_major = 2", "alarms: found disk_free_minor 1 and disk_free_major 2"),
        ("clock_offset_minor = 0.02", "alarms: found clock_offset_minor 0.02 and clock_offset_major 0.01"),
        ("pool_fill_minor = 101", "alarms.pool_fill_minor: found 101"),
        ("packets_lost_minor = 0", "alarms.packets_lost_minor: found 0"),
    ],
)
def test_limits_in_the_wrong_order_are_refused(alarms: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        served(alarms)


def test_the_window_is_in_the_descriptions() -> None:
    found = [record for record in served("window_s = 99\n").values() if "Recently" in record.name]
    assert len(found) > 10
    for record in found:
        assert record.fields["DESC"].endswith("last 99 s"), record.name
        assert len(record.fields["DESC"]) <= 40
