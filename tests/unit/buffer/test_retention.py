import json
import os
import shutil
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.buffer import retention
from detectors.buffer.claim import CLAIM, claim, claimed_since_ns
from detectors.buffer.layout import sidecar_path
from detectors.buffer.registration import DetectorInfo
from detectors.buffer.retention import RetentionKeeper, delete, scan
from detectors.buffer.retention_plan import Limits, PulseFiles, least_bytes, plan
from detectors.buffer.writer import BufferWriter
from detectors.frame import RecordShape
from tests.support.waiting import until
from tests.unit.buffer.make import FrameMaker, RawBuffer

HOUR_NS = 3_600_000_000_000
NOW_NS = 1_000 * HOUR_NS


def files(first_pulse: int, *, age_h: float, nbytes: int = 100, **flags) -> PulseFiles:
    return PulseFiles(Path("/d"), first_pulse, (), nbytes, NOW_NS - int(age_h * HOUR_NS), **flags)


def doomed(found: list[PulseFiles], limits: Limits, free_bytes: int = 10_000) -> list[int]:
    return [f.first_pulse for f in plan(found, limits, free_bytes={0: free_bytes}, now_ns=NOW_NS)]


def test_without_limits_nothing_goes():
    assert not Limits().active
    assert doomed([files(0, age_h=1e6)], Limits(), free_bytes=0) == []


@pytest.mark.parametrize(
    ("limits", "free", "expected"),
    [
        (Limits(keep_bytes=300), 0, []),
        (Limits(keep_bytes=299), 0, [1]),
        (Limits(keep_bytes=100), 0, [1, 2]),
        (Limits(keep_hours=2.5), 0, [1]),
        (Limits(keep_hours=0.5), 0, [1, 2, 3]),
        (Limits(keep_free=1000), 1000, []),
        (Limits(keep_free=1000), 850, [1, 2]),
        (Limits(keep_bytes=299, keep_hours=1.5, keep_free=1), 1, [1, 2]),
    ],
)
def test_the_oldest_go_until_every_limit_is_met(limits, free, expected):
    # by age, not by number: a detector may start again at a lower pulse
    found = [files(3, age_h=1), files(1, age_h=3), files(2, age_h=2)]
    assert doomed(found, limits, free) == expected


def test_what_is_in_use_stays_and_the_next_goes_instead():
    found = [
        files(0, age_h=4, in_use=True),
        files(1, age_h=3, in_use=True),
        files(2, age_h=2),
        files(3, age_h=1),
    ]
    assert doomed(found, Limits(keep_bytes=300)) == [2]


def test_the_newest_goes_for_its_age_only():
    assert doomed([files(0, age_h=4, newest=True)], Limits(keep_bytes=0, keep_free=1 << 60)) == []
    assert doomed([files(0, age_h=4, newest=True)], Limits(keep_hours=3)) == [0]


def test_free_space_is_made_where_it_is_short_only():
    found = [files(0, age_h=4), files(1, age_h=3, device=1), files(2, age_h=2), files(3, age_h=1, device=1)]
    limits = Limits(keep_free=1000)
    assert [f.first_pulse for f in plan(found, limits, free_bytes={0: 5000, 1: 950}, now_ns=NOW_NS)] == [1]


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 1000), st.booleans(), st.booleans()), max_size=12),
    st.builds(
        Limits,
        keep_bytes=st.none() | st.integers(0, 5000),
        keep_hours=st.none() | st.floats(0.1, 100),
        keep_free=st.none() | st.integers(0, 5000),
    ),
    st.integers(0, 5000),
)
def test_a_plan_keeps_its_promises(rows, limits, free):
    found = [files(i, age_h=age, nbytes=n, in_use=used, newest=new) for i, (age, n, used, new) in enumerate(rows)]
    gone = plan(found, limits, free_bytes={0: free}, now_ns=NOW_NS)
    assert not any(f.in_use for f in gone)
    assert [f.modified_ns for f in gone] == sorted(f.modified_ns for f in gone)
    kept = [f for f in found if f not in gone]
    candidates = [f for f in kept if not f.in_use]
    if limits.keep_hours is not None:
        assert all(NOW_NS - f.modified_ns <= limits.keep_hours * HOUR_NS for f in candidates)
    deletable = [f for f in candidates if not f.newest]
    if deletable and limits.keep_bytes is not None:
        assert sum(f.nbytes for f in kept) <= limits.keep_bytes
    if deletable and limits.keep_free is not None:
        assert free + sum(f.nbytes for f in gone) >= limits.keep_free


SERVER = "DAQ:"


def age(path: Path, hours: float) -> None:
    """Let a data file and its sidecar be written so long ago."""
    then = time.time() - hours * 3600
    for each in (path, sidecar_path(path)):
        os.utime(each, (then, then))


@pytest.fixture
def old(tmp_path: Path) -> RawBuffer:
    """Two modules with three files, 30, 20 and 10 hours old, two of them in one data folder."""
    raw = RawBuffer(tmp_path / "JF")
    for hours, pulse_id in ((30, 100_000), (20, 101_000), (10, 300_000)):
        for module in raw.modules:
            raw.put(module, pulse_id)
            age(raw.path(module, pulse_id), hours)
    raw.claim(SERVER)
    return raw


def keeper_of(raw: RawBuffer, limits: Limits, server: str = SERVER) -> RetentionKeeper:
    return RetentionKeeper([raw.folder], limits, server=server, roots=[raw.folder.parent])


def left(raw: RawBuffer) -> dict[str, list[str]]:
    return {m: sorted(p.stem for p in (raw.folder / m).glob("*/*.bin")) for m in raw.modules}


def both(*names: int) -> dict[str, list[str]]:
    return {"M00": list(map(str, names)), "M01": list(map(str, names))}


def test_a_scan_sees_the_modules_of_a_detector_together(old):
    found = scan(old.folder, SERVER, now_ns=time.time_ns())
    assert [(f.first_pulse, len(f.paths), f.newest, f.in_use) for f in found] == [
        (100_000, 2, False, False),
        (101_000, 2, False, False),
        (300_000, 2, True, False),
    ]
    mine = [path for m in old.modules for path in (old.folder / m / "100000").glob("100000.*")]
    assert found[0].nbytes == sum(path.stat().st_blocks * 512 for path in mine) > 0
    assert len(mine) == 4


def test_a_folder_without_detector_json_is_none_of_ours(tmp_path):
    (tmp_path / "M00" / "100000").mkdir(parents=True)
    assert scan(tmp_path, SERVER, now_ns=time.time_ns()) == []
    assert scan(tmp_path / "nothing", SERVER, now_ns=time.time_ns()) == []


def test_the_keeper_deletes_file_by_file_in_all_modules(old):
    """Finding: the unit was a folder of 100,000 pulses, up to 105 GB of one module."""
    stats = keeper_of(old, Limits(keep_hours=25)).run_once()
    assert left(old) == both(101_000, 300_000)
    assert not old.meta("M00", 100_000).exists()
    assert (stats.files, stats.deleted_files, stats.errors, stats.message) == (4, 2, 0, "")
    assert stats.oldest_hours == pytest.approx(20, abs=0.1)
    assert stats.deleted_bytes > 0
    assert stats.free_bytes > 0
    assert stats.oldest_pulse == 101_000
    assert stats.state == "Idle"
    assert f": deleted the files 100000.bin of {old.folder}, " in stats.last_action
    keeper_of(old, Limits(keep_hours=15)).run_once()
    assert left(old) == both(300_000)
    assert not (old.folder / "M00" / "100000").exists()


def test_the_newest_stays_and_the_keeper_says_so(old):
    stats = keeper_of(old, Limits(keep_bytes=1)).run_once()
    assert left(old) == both(300_000)
    assert stats.message == f"{old.folder}: the files 300000.bin are to go but are the newest"
    assert stats.state == "Blocked"


def test_latest_names_no_file_that_is_gone(old):
    for module, name in (("M00", "300000/300000.bin"), ("M01", "100000/100000.bin")):
        (old.folder / module / "LATEST").write_text(f"{name}\n")
    keeper_of(old, Limits(keep_hours=15)).run_once()
    assert (old.folder / "M00" / "LATEST").read_text() == "300000/300000.bin\n"
    assert not (old.folder / "M01" / "LATEST").exists()
    keeper_of(old, Limits(keep_hours=5)).run_once()
    assert not (old.folder / "M00" / "LATEST").exists()


def test_what_a_writer_has_open_stays(tmp_path):
    frames = FrameMaker(10)
    sink = BufferWriter(tmp_path / "JF", DetectorInfo("uint8", (10,), frames.shape.data_bytes, ("M00",)), server=SERVER)
    paths = [tmp_path / "JF" / "M00" / "100000" / f"{first}.bin" for first in (100_000, 101_000)]
    for path in paths:
        with frames.lease(int(path.stem)) as lease:
            sink.write([lease])
    for path in paths:
        age(path, 10)
    keeper = RetentionKeeper([tmp_path / "JF"], Limits(keep_hours=1), server=SERVER, roots=[tmp_path])
    stats = keeper.run_once()
    assert stats.deleted_files == 0
    assert stats.message.endswith("the files 100000.bin are to go but are in use")
    with frames.lease(102_000) as lease:  # the same data folder: its older files go by themselves
        sink.write([lease])
    sink.close()  # writes the last sidecar entries
    for path in paths:
        age(path, 10)
    assert keeper.run_once().deleted_files == 2
    assert [path.name for path in paths[0].parent.glob("*.bin")] == ["102000.bin"]


def test_what_was_written_just_now_stays(old):
    old.put("M01", 100_001)
    keeper_of(old, Limits(keep_hours=1)).run_once()
    assert left(old) == both(100_000)


def test_what_is_not_the_buffers_stays(old):
    kept = [old.folder / "M01" / "100000" / "notes.txt", old.folder / "M01" / "100000" / "0100000.bin"]
    kept.append(old.folder / "M07" / "100000" / "100000.bin")  # a module that is not registered
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("the best run of the year")
        os.utime(path, (0, 0))
    keeper_of(old, Limits(keep_hours=15)).run_once()
    assert left(old)["M00"] == ["300000"]
    assert all(path.exists() for path in kept)


def test_what_another_server_wrote_stays(old):
    """Finding: retention deleted what the server had never written, once its folder was set there."""
    for server in ("OTHER:", ""):
        stats = keeper_of(old, Limits(keep_hours=1, keep_bytes=1), server).run_once()
        assert (stats.files, stats.deleted_files) == (0, 0)
    assert left(old) == both(100_000, 101_000, 300_000)
    stats = keeper_of(old, Limits(keep_free=1 << 60), "OTHER:").run_once()
    assert stats.message == "too little is free, and there is nothing left to delete that this server wrote"


def test_what_lay_there_before_the_server_came_stays(tmp_path):
    raw = RawBuffer(tmp_path / "JF", ["M00"], (10,), "uint8")
    for pulse_id in (100_000, 200_000):
        raw.put("M00", pulse_id)
        age(raw.path("M00", pulse_id), 30)
    frames = FrameMaker(10)
    for _ in range(2):  # a restart changes nothing
        sink = BufferWriter(raw.folder, DetectorInfo("uint8", (10,), frames.shape.data_bytes, ("M00",)), server=SERVER)
        with frames.lease(300_000) as lease:
            sink.write([lease])
        sink.close()
    (found,) = scan(raw.folder, SERVER, now_ns=time.time_ns())
    assert found.first_pulse == 300_000
    stats = keeper_of(raw, Limits(keep_hours=15, keep_bytes=1)).run_once()
    assert left(raw) == {"M00": ["100000", "200000", "300000"]}
    assert stats.deleted_files == 0


def test_a_new_folder_is_claimed_whole_and_a_copy_of_it_not_at_all(tmp_path):
    frames = FrameMaker(10)
    BufferWriter(
        tmp_path / "JF", DetectorInfo("uint8", (10,), frames.shape.data_bytes, ("M00",)), server=SERVER
    ).close()
    module = tmp_path / "JF" / "M00"
    assert claimed_since_ns(module, SERVER) == 0
    shutil.copytree(module, tmp_path / "archive")
    assert claimed_since_ns(tmp_path / "archive", SERVER) is None
    claim(module, "OTHER:")
    assert claimed_since_ns(module, SERVER) is None
    assert claimed_since_ns(module, "OTHER:") == 0


@pytest.mark.parametrize("text", ["", "[1]", "{}", "[" * 5000, json.dumps({"server": SERVER, "inode": 1}), "\0"])
def test_a_claim_that_says_nothing_usable_is_none(old, text):
    (old.folder / "M00" / CLAIM).write_text(text)
    assert claimed_since_ns(old.folder / "M00", SERVER) is None


def test_nothing_outside_of_the_roots_is_touched(old, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    old.folder.rename(elsewhere)
    root = tmp_path / "root"
    root.mkdir()
    (root / "JF").symlink_to(elsewhere)
    keeper = RetentionKeeper([root / "JF"], Limits(keep_hours=1), server=SERVER, roots=[root])
    stats = keeper.run_once()
    assert stats.state == "Failing"
    assert f"which leads to {elsewhere}, expected a place below the roots {root}" in stats.message
    assert len(list(elsewhere.glob("*/*/*.bin"))) == 6


def test_a_module_folder_that_is_a_link_is_not_followed(old, tmp_path):
    (old.folder / "M00").rename(tmp_path / "M00")
    (old.folder / "M00").symlink_to(tmp_path / "M00")
    assert {len(f.paths) for f in scan(old.folder, SERVER, now_ns=time.time_ns())} == {1}


def test_a_failure_is_counted_and_named(old, monkeypatch):
    def refuse(found: PulseFiles, _: object) -> bool:
        raise PermissionError(13, "Permission denied", str(found.paths[0]))

    monkeypatch.setattr(retention, "delete", refuse)
    keeper = keeper_of(old, Limits(keep_hours=15))
    assert keeper.run_once().errors == 1
    assert keeper.stats.message == f"{old.folder}/M00/100000/100000.bin: Permission denied"
    assert keeper.stats.state == "Failing"


def test_new_limits_take_effect_without_waiting_for_the_period(old):
    with closing(keeper_of(old, Limits())) as keeper:
        keeper.start()
        keeper.set_limits(Limits(keep_hours=15))
        until(lambda: keeper.stats.deleted_files == 4)
        assert keeper.limits == Limits(keep_hours=15)
    assert left(old) == both(300_000)


def test_a_stop_cuts_a_deletion_short_and_the_next_keeper_finishes_it(old):
    found = scan(old.folder, SERVER, now_ns=time.time_ns())[0]
    answers = iter((False, True))
    assert not delete(found, lambda: next(answers))
    assert left(old) == {"M00": ["101000", "300000"], "M01": ["100000", "101000", "300000"]}
    stats = keeper_of(old, Limits(keep_hours=25)).run_once()
    assert left(old) == both(101_000, 300_000)
    assert (stats.files, stats.state) == (4, "Idle")


def test_a_stop_cuts_a_look_short_and_nothing_is_judged_by_half_of_it(old):
    keeper = keeper_of(old, Limits(keep_hours=15))
    keeper.close()
    assert keeper.run_once().files == 0
    assert left(old) == both(100_000, 101_000, 300_000)


def test_the_keeper_follows_the_folders(old, tmp_path):
    keeper = RetentionKeeper([tmp_path / "elsewhere"], Limits(keep_hours=15), server=SERVER, roots=[tmp_path])
    assert keeper.run_once().files == 0
    keeper.set_detectors([old.folder])
    assert keeper.detectors == (old.folder,)
    assert keeper.run_once().deleted_files == 4


def test_what_a_limit_on_size_can_never_be_below():
    jungfrau = RecordShape(1 << 20)
    assert least_bytes(jungfrau, 1) == 3 * 1000 * (41 + (1 << 20))
    assert least_bytes(jungfrau, 10) == 3 * 100 * (41 + (1 << 20))
