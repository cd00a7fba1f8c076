"""What every record of every template has, beside what it shows: ranges, deadbands, times and tags for an archiver."""

import json
import re
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from detectors.config import load_config
from ioc.cli.pvs import command
from ioc.record_text import RecordText, records
from ioc.templates import TEMPLATES, Load, loads

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))

NUMBERS: Final = ("ai", "ao", "calc", "longin", "longout", "int64in", "int64out")
SETPOINTS: Final = ("ao", "longout", "int64out")
STATUS: Final = "pebbledaq:status"
TIME: Final = "pebbledaq:time"
RECENT: Final = "recent."

OF_A_FRAME: Final = re.compile(r"(PulseId|PulseIdText|UniqueId|FrameIndex|TimeStamp|TimeDiff|Latency)_RBV$")
STATES: Final = re.compile(r":(State|DetectorState|RunState|WriteStatus|Acquire|Capture|Running|Alarm)_RBV$")
LEVELS: Final = re.compile(r":(HighWater|Free)_RBV$")
ARCHIVED: Final = re.compile(r"Monitor, \d\d:\d\d:\d\d, VAL")


def _loads() -> dict[str, Load]:
    """A load of each template, from the examples."""
    found: dict[str, Load] = {}
    for example in EXAMPLES:
        for load in loads(load_config(example)):
            found.setdefault(load.file, load)
    return found


LOADS = _loads()


@pytest.fixture(params=sorted(path.name for path in TEMPLATES.glob("*.template")))
def found(request: pytest.FixtureRequest) -> list[RecordText]:
    return list(records(LOADS[request.param]))


def of(found: list[RecordText], *kinds: str) -> list[RecordText]:
    return [record for record in found if record.kind in kinds]


def shown(record: RecordText) -> str:
    """The field that a reading shows."""
    return record.tags.get(STATUS, "").partition(" ")[0]


def by_name(found: list[RecordText]) -> dict[str, RecordText]:
    return {record.name: record for record in found}


def limits(record: RecordText) -> tuple[float, float]:
    return float(record.fields["LOPR"]), float(record.fields["HOPR"])


def test_numbers_have_a_unit_and_floats_their_digits(found: list[RecordText]) -> None:
    assert [r.name for r in of(found, *NUMBERS) if not r.fields.get("EGU")] == []
    assert [r.name for r in of(found, "ai", "ao", "calc") if not r.fields.get("PREC", "").isdecimal()] == []


def test_setpoints_have_a_range_that_refuses_and_does_not_clamp(found: list[RecordText]) -> None:
    for record in of(found, *SETPOINTS):
        if record.tags["pebbledaq:command"].startswith(("fixed_number", "camera_given")):
            continue  # takes one value only
        low, high = limits(record)
        assert low < high, record.name
        assert not {"DRVL", "DRVH"} & record.fields.keys(), f"{record.name} would change a number without a word"


def test_a_readback_has_the_range_of_its_setpoint(found: list[RecordText]) -> None:
    named = by_name(found)
    for record in of(found, *SETPOINTS):
        readback = named.get(f"{record.name}_RBV")
        if readback and "LOPR" in record.fields:
            assert limits(readback) == limits(record), record.name


def test_a_range_is_one_and_alarm_limits_are_in_order(found: list[RecordText]) -> None:
    for record in of(found, *NUMBERS):
        assert ("LOPR" in record.fields) == ("HOPR" in record.fields), record.name
        order = [float(record.fields[key]) for key in ("LOLO", "LOW", "HIGH", "HIHI") if record.fields.get(key)]
        assert order == sorted(order), record.name


def test_rates_have_deadbands_below_what_is_shown(found: list[RecordText]) -> None:
    for record in of(found, "ai"):
        if record.unit in ("Hz", "B/s") and shown(record):
            monitor, archive = float(record.fields["MDEL"]), float(record.fields["ADEL"])
            assert 0 < monitor < archive, record.name
            if record.unit == "Hz":
                assert monitor < 10 ** -int(record.fields["PREC"]), record.name


def test_what_is_of_a_frame_has_the_time_of_its_data(found: list[RecordText]) -> None:
    for record in found:
        if record.tags.get(STATUS) and OF_A_FRAME.search(record.name):
            assert record.tags.get(TIME, "").endswith(("data_ns", "time_ns")), record.name


def test_a_pulse_id_is_there_as_text_too(found: list[RecordText]) -> None:
    named = by_name(found)
    for record in found:
        if record.name.endswith("PulseId_RBV"):
            text = named[record.name.replace("PulseId_", "PulseIdText_")]
            assert text.kind == "stringin"
            assert {tag: text.tags[tag] for tag in (STATUS, TIME)} == {tag: record.tags[tag] for tag in (STATUS, TIME)}


def test_archive_tags_are_well_formed_and_on_readings_only(found: list[RecordText]) -> None:
    for record in found:
        if record.archive:
            assert ARCHIVED.fullmatch(record.archive), record.name
            assert STATUS in record.tags, record.name


def test_states_rates_losses_and_levels_are_archived(found: list[RecordText]) -> None:
    named = by_name(found)
    losses = {shown(record).removeprefix(RECENT) for record in found if shown(record).startswith(RECENT)}
    for record in named.values():
        field = shown(record)
        rate = record.kind == "ai" and record.unit in ("Hz", "B/s")
        loss = field.removeprefix(RECENT) in losses
        if field and (loss or rate or STATES.search(record.name) or LEVELS.search(record.name)):
            assert record.archive.startswith("Monitor, "), record.name


def test_a_pulse_id_is_archived_at_a_slow_rate(found: list[RecordText]) -> None:
    for record in found:
        if record.name.endswith(":PulseId_RBV"):
            assert record.archive == "Monitor, 00:00:10, VAL", record.name


class TestTheList:
    def run(self, *options: str) -> list[str]:
        result = CliRunner().invoke(command, [str(ROOT / "examples" / "jungfrau.toml"), *options])
        assert result.exit_code == 0, result.output
        return result.output.splitlines()

    def test_of_what_to_archive_has_name_method_and_period(self) -> None:
        rows = [line.split("\t") for line in self.run("--archive")]
        assert ["DAQ:JF01:M00:FrameRate_RBV", "Monitor", "00:00:01"] in rows
        assert ["DAQ:JF01:M00:PulseId_RBV", "Monitor", "00:00:10"] in rows
        assert len(rows) < len(self.run())

    def test_in_json_says_of_each_whether_to_archive_it(self) -> None:
        rows = {row["name"]: row["archive"] for row in json.loads("\n".join(self.run("--json")))}
        assert rows["DAQ:JF01:M00:State_RBV"] == "Monitor, 00:00:01, VAL"
        assert rows["DAQ:JF01:M00:Version_RBV"] == ""
