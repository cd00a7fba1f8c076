import json
import os
import pwd
import re
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from detectors.config import Config, load_config, parse_config
from detectors.errors import ConfigError
from detectors.parts import parts
from detectors.stats import StreamStatus
from detectors.worker_names import PARTS, STREAM, workers
from ioc.access import ACCESS_FILE, EXPERT, LIMITED, OPERATOR, READING, substitutions
from ioc.bindings import RECENT, field_types
from ioc.templates import DESC_NAME_LIMIT, PART_STREAMS, TEMPLATES, defaults, detectors, image_streams, loads

ROOT = Path(__file__).parents[3]
CHOICE = re.compile("[ZO]NAM|(?:ZR|ON|TW|TH|FR|FV|SX|SV|EI|NI|TE|EL|TV|TT|FT|FF)ST")
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))

# Loading ends in state of EPICS that cannot be undone, so it happens in a process of its own.
LOAD = """
import dataclasses, json, sys
import zmq.asyncio
from detectors.config import load_config
from detectors.run_state import RunState
from detectors.runtime_names import RuntimeNames
from ioc import database
from ioc.commands import Commands
from ioc.face import Face
from ioc.loading import load_records
from ioc.retention import Retention
from ioc.roster import Roster
from ioc.run_control import RunControl
from ioc.runs import Runs
from ioc.settings import Settings
from detectors.worker_names import workers
from ioc.templates import defaults, detectors, loads
config = load_config(sys.argv[1])
run = RunControl(RunState.UNCONFIGURED, None, None)
roster = Roster(workers(config))
parts = dict(roster=roster, context=zmq.asyncio.Context(), folders={})
faces = [Face(config, detector, run, None, **parts) for detector in detectors(config)]
runs = Runs(dict.fromkeys(roster.sources, run))
retention = Retention(config, config.disk, roster, None)
handlers = Commands(roster, Settings(config, roster), runs, None, None, faces=faces, retention=retention).handlers()
for face in faces:
    handlers |= face.handlers()
records, connect = [], database.connect
database.connect = lambda: records.extend(connect()) or records
bound = load_records(config, loads(config), defaults(config), handlers)
found = [dataclasses.asdict(record) for record in records]
print(json.dumps({"records": found, "status": len(bound.status), "commands": len(bound.commands)}))
"""


def config(prefix: str = "DET:", name: str = "M00", more: str = "") -> Config:
    return parse_config(
        f'[detector]\nname = "D"\nprefix = "{prefix}"\n[disk]\nfolder = "/tmp/d"\n'
        f'[[udp]]\nname = "{name}"\nexpect_module_id = 0\nport = 5000\n{more}'
    )


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda p: p.stem)
def example(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module")
def loaded(example: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(example)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def records(loaded: dict[str, Any]) -> list[dict[str, Any]]:
    return loaded["records"]


def test_the_examples_are_found() -> None:
    assert len(EXAMPLES) >= 4


def test_every_record_is_described(records: list[dict[str, Any]]) -> None:
    assert records
    for record in records:
        description = record["fields"].get("DESC", "")
        assert 0 < len(description) <= 40, record["name"]
        assert "$(" not in json.dumps(record), record["name"]


@pytest.mark.parametrize("example", [max(EXAMPLES)], indirect=True)
def test_descriptions_fit_with_a_long_name(example: Path) -> None:
    for load in loads(load_config(example)):
        macros = {**load.macros, "S": "S" * DESC_NAME_LIMIT, "N": "63"}
        for text in re.findall(r'field\(DESC, "([^"]*)"\)', load.path.read_text()):
            found = re.sub(r"\$\((\w+)\)", lambda macro, values=macros: values[macro[1]], text)
            assert len(found) <= 40, found


def test_what_is_not_bound_is_epics_own(records: list[dict[str, Any]]) -> None:
    for record in records:
        if not any(tag.startswith("pebbledaq:") for tag in record["tags"]):
            assert record["kind"] == "calc" or record["name"].endswith("PVI_"), record["name"]


def test_every_name_fits(records: list[dict[str, Any]]) -> None:
    assert [r["name"] for r in records if len(r["name"]) > 60] == []


def test_every_number_has_its_unit(records: list[dict[str, Any]]) -> None:
    kinds = ("ai", "ao", "calc", "longin", "longout", "int64in", "int64out")
    numbers = [r for r in records if r["kind"] in kinds]
    assert numbers
    assert [r["name"] for r in numbers if not 0 < len(r["fields"].get("EGU", "")) <= 15] == []


BARE = re.compile(
    r":(Pool\w+(Mem|Buffers)|NumQueuedArrays|ArraySize[01]|Dim[0-2]SA|Write(Status|Message)|Queue(Free|Use))$"
)
"""Readings that areaDetector has without _RBV."""


def test_readings_are_told_from_setpoints(records: list[dict[str, Any]]) -> None:
    for record in records:
        reads = not {"pebbledaq:status", "pebbledaq:fixed"}.isdisjoint(record["tags"]) or record["kind"] == "calc"
        assert record["name"].endswith("_RBV") == reads or BARE.search(record["name"]), record["name"]


def test_a_setpoint_and_its_readback_have_the_same_choices(records: list[dict[str, Any]]) -> None:
    choices = {r["name"]: {k: v for k, v in r["fields"].items() if CHOICE.fullmatch(k)} for r in records}
    pairs = [name for name in choices if choices[name] and f"{name}_RBV" in choices]
    assert len(pairs) >= 3
    for name in pairs:
        assert choices[name] == choices[f"{name}_RBV"], name


def test_enable_is_the_transition_and_nothing_else(records: list[dict[str, Any]], example: Path) -> None:
    prefix = load_config(example).detector.prefix
    assert [r["name"] for r in records if re.fullmatch(".*:Enable(_RBV)?", r["name"])] == [f"{prefix}Enable"]


def test_every_record_has_the_role_of_what_it_is_for(records: list[dict[str, Any]]) -> None:
    experts = re.compile(r".*(Disk:Folder|Retention:Keep(Size|Hours|Free)|ResetCounters)")
    for record in records:
        reading = record["name"].endswith(("_RBV", "PVI_", "Busy", "ArrayData")) or BARE.search(record["name"])
        roles = (
            ("READING", "LIMITED") if reading else ("EXPERT",) if experts.fullmatch(record["name"]) else ("OPERATOR",)
        )
        assert record["fields"]["ASG"] in roles, record["name"]
        # EPICS protects the value of a text no better than that of a setpoint: it must not have a rule for writing.
        assert record["fields"]["ASG"] != "LIMITED" or record["kind"] not in ("waveform", "stringin"), record["name"]


def test_the_access_file_has_a_group_for_every_role() -> None:
    groups = set(re.findall(r"^ASG\((\w+)\)", ACCESS_FILE.read_text(), re.MULTILINE))
    assert groups == {"DEFAULT", READING, LIMITED, OPERATOR, EXPERT}


def test_experts_are_this_account_on_this_host() -> None:
    user, host = re.fullmatch(r'USER="([^"]+)",HOST="([^"]+)"', substitutions()).groups()  # type: ignore[union-attr]
    assert user == pwd.getpwuid(os.geteuid()).pw_name
    assert host.split(",")[0] == "127.0.0.1"
    assert all(IPv4Address(address) for address in host.split(","))


def test_every_loss_can_alarm(records: list[dict[str, Any]]) -> None:
    fields = {r["name"]: r["fields"] for r in records}
    recent = [name for name in fields if name.endswith("Recently_RBV")]
    assert recent
    for name in recent:
        assert fields[name].get("HSV", fields[name].get("HHSV")) in ("MINOR", "MAJOR"), name


def test_states_of_trouble_alarm(records: list[dict[str, Any]]) -> None:
    order = ("ZR", "ON", "TW", "TH", "FR", "FV", "SX", "SV")
    states = [r for r in records if r["name"].endswith(":State_RBV") and " host." not in r["tags"]["pebbledaq:status"]]
    assert states
    for record in states:
        severities = {
            record["fields"][f"{o}ST"]: record["fields"].get(f"{o}SV") for o in order if f"{o}ST" in record["fields"]
        }
        for state in {"Stalled", "Failed", "Failing", "Full", "Paused"} & severities.keys():
            assert severities[state] == "MAJOR", (record["name"], state)
        assert severities.get("Behind", "MINOR") == (
            "MAJOR" if "Disk:" in record["name"] or "Full:" in record["name"] else "MINOR"
        )
        assert severities["Idle"] is None
        assert severities["Off"] is None


def test_precision_is_written_where_it_counts() -> None:
    for template in TEMPLATES.glob("*.template"):
        for body in re.findall(r"record\((?:ai|ao|calc), [^{]*\{(.*?)\n\}", template.read_text(), re.DOTALL):
            assert "field(PREC" in body, (template.name, body)


NOT_SHOWN = re.compile(
    r"kind|pid|time_ns|worker|.*\.name|disk\.subscribers|(zmq|full|reduced|pulse|compressed)\.(free_bytes|overwritten)|sync\.skipped_of"
    r"|(zmq|full|reduced|pulse|compressed|output)\.(durable|lost_on_disk|unsynced)"
    r"|output\.(enabled|state|message|overwritten|subscribers)|ca\.clients|capturing|retention\.(state|message)"
)
"""Fields that are for the IOC alone (it shows ``capturing`` when it agrees with its orders), or that an output of this kind does not have."""


def test_every_field_of_a_snapshot_is_shown(records: list[dict[str, Any]], example: Path) -> None:
    tags = [r["tags"] for r in records if "pebbledaq:status" in r["tags"]]
    shown = {tag["pebbledaq:status"] for tag in tags}
    shown |= {
        f"{tag['pebbledaq:time']} {tag['pebbledaq:status'].split()[1]}" for tag in tags if "pebbledaq:time" in tag
    }
    found = load_config(example)
    for worker, snapshot in defaults(found).items():
        streams = set(PART_STREAMS if worker.startswith(f"{PARTS}.") else image_streams(found))
        joins = worker == STREAM and bool(parts(found))
        for field in field_types(snapshot):
            absent = (
                isinstance(snapshot, StreamStatus)
                and field.partition(".")[0] in {"full", "reduced", "pulse", "compressed"} - streams
            )
            absent |= field in {"compressed_pixel_bytes", "compression_ratio"} and "compressed" not in streams
            absent |= field == "sync.lost" and not joins
            if not (field.startswith(RECENT) or NOT_SHOWN.fullmatch(field) or absent):
                assert f"{field} {worker}" in shown


def test_every_record_and_handler_is_bound(loaded: dict[str, Any]) -> None:
    assert loaded["status"] > 50
    assert loaded["commands"] >= 10


def test_every_template_is_loaded_by_some_example() -> None:
    loaded = {load.file for example in EXAMPLES for load in loads(load_config(example))}
    assert {path.name for path in TEMPLATES.glob("*.template")} == loaded


def test_workers_are_named_after_their_sources() -> None:
    found = workers(config(more='[[pva]]\nname = "CAM"\npv = "X"\n[stream]\n'))
    assert list(found) == ["udp.M00", "pva.CAM", "stream"]


def test_a_name_too_long_for_epics_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has \d+ characters, EPICS takes 60; shorten detector.prefix"):
        loads(config(prefix="P" * 29 + ":", name="M" * 32))


def test_a_source_with_the_name_of_a_worker_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"record DET:Stream:Run is made twice; give the source 'Stream' another name"
    ):
        loads(config(name="Stream", more="[stream]\n"))


def test_without_a_disk_there_are_no_disk_records() -> None:
    bare = parse_config('[detector]\nname = "D"\nprefix = "D:"\n[[pva]]\nname = "CAM"\npv = "X"\n')
    assert not [name for load in loads(bare) for name in load.names() if ":Disk:" in name]


def test_several_detectors_have_records_of_their_own() -> None:
    two = parse_config(
        '[detector]\nname = "D"\nprefix = "D:"\n[hdf5]\nfolder = "/tmp/d"\n[images]\n[stream]\n'
        '[[udp]]\nname = "M00"\nport = 5000\n[[pva]]\nname = "CAM"\npv = "C"\n'
    )
    assert list(workers(two)) == ["udp.M00", "pva.CAM", "stream", "hdf5.D", "images.D", "hdf5.CAM", "images.CAM"]
    assert [d.workers for d in detectors(two)] == [
        ("udp.M00", "hdf5.D", "images.D", "stream"),
        ("pva.CAM", "hdf5.CAM", "images.CAM"),
    ]
    names = {name for load in loads(two) for name in load.names()}
    for part in ("cam1:Acquire", "HDF1:Capture", "Pva1:PulseId_RBV", "image1:ArrayData"):
        assert {f"D:D:{part}", f"D:CAM:{part}"} <= names
        assert f"D:{part}" not in names


def test_the_only_detector_has_its_records_behind_the_prefix() -> None:
    (one,) = detectors(config())
    assert (one.name, one.part, one.suffix) == ("", "", "")


def test_every_pulse_id_can_be_read_as_text(records: list[dict[str, Any]]) -> None:
    """A client over Channel Access gets 64 bits as a double, and shows six digits of it."""
    found = {r["name"]: r for r in records}
    numbers = [name for name in found if name.endswith(":PulseId_RBV")]
    assert numbers
    for name in numbers:
        text = found[name.replace("PulseId_", "PulseIdText_")]
        assert text["kind"] == "stringin"
        for tag in ("pebbledaq:status", "pebbledaq:time"):
            assert text["tags"][tag] == found[name]["tags"][tag]


def test_what_is_worth_archiving_is_marked_for_an_archiver(records: list[dict[str, Any]]) -> None:
    archived = {r["name"].rpartition(":")[2]: r for r in records if "archive" in r["tags"]}
    assert {
        "Alarm_RBV",
        "State_RBV",
        "PulseId_RBV",
        "FrameRate_RBV",
        "DataRate_RBV",
        "HighWater_RBV",
    } <= archived.keys()
    for record in archived.values():
        assert re.fullmatch(r"Monitor, 00:00:\d\d, VAL", record["tags"]["archive"])
        assert record["kind"] not in ("waveform", "stringin")


def test_rates_are_archived_when_they_have_changed_by_something(records: list[dict[str, Any]]) -> None:
    rates = [r for r in records if re.search(r":(Frame|Packet|Data)Rate_RBV$", r["name"])]
    assert rates
    assert [r["name"] for r in rates if float(r["fields"].get("ADEL", 0)) <= 0] == []
