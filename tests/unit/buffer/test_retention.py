import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.buffer import retention
from detectors.buffer.retention import RetentionKeeper, delete, scan
from detectors.buffer.retention_plan import DataFolder, Limits, plan
from detectors.buffer.writer import BufferWriter
from tests.support.waiting import until
from tests.unit.buffer.make import FrameMaker, RawBuffer

HOUR_NS = 3_600_000_000_000
NOW_NS = 1_000 * HOUR_NS


def folder(number: int, *, age_h: float, nbytes: int = 100, **flags) -> DataFolder:
    return DataFolder(Path("/d"), number, (), nbytes, NOW_NS - int(age_h * HOUR_NS), **flags)


def doomed(folders: list[DataFolder], limits: Limits, free_bytes: int = 10_000) -> list[int]:
    return [f.number for f in plan(folders, limits, free_bytes={0: free_bytes}, now_ns=NOW_NS)]


def test_without_limits_nothing_goes():
    assert not Limits().active
    assert doomed([folder(0, age_h=1e6)], Limits(), free_bytes=0) == []


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
    folders = [folder(3, age_h=1), folder(1, age_h=3), folder(2, age_h=2)]
    assert doomed(folders, limits, free) == expected


def test_what_is_in_use_or_not_ours_stays_and_the_next_goes_instead():
    folders = [
        folder(0, age_h=4, in_use=True),
        folder(1, age_h=3, blocked="holds notes.txt"),
        folder(2, age_h=2),
        folder(3, age_h=1),
    ]
    assert doomed(folders, Limits(keep_bytes=300)) == [2]


def test_the_newest_goes_for_its_age_only():
    assert doomed([folder(0, age_h=4, newest=True)], Limits(keep_bytes=0, keep_free=1 << 60)) == []
    assert doomed([folder(0, age_h=4, newest=True)], Limits(keep_hours=3)) == [0]


def test_free_space_is_made_where_it_is_short_only():
    folders = [folder(0, age_h=4), folder(1, age_h=3, device=1), folder(2, age_h=2), folder(3, age_h=1, device=1)]
    limits = Limits(keep_free=1000)
    assert [f.number for f in plan(folders, limits, free_bytes={0: 5000, 1: 950}, now_ns=NOW_NS)] == [1]


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
    folders = [folder(i, age_h=age, nbytes=n, in_use=used, newest=new) for i, (age, n, used, new) in enumerate(rows)]
    gone = plan(folders, limits, free_bytes={0: free}, now_ns=NOW_NS)
    assert not any(f.in_use for f in gone)
    assert [f.modified_ns for f in gone] == sorted(f.modified_ns for f in gone)
    kept = [f for f in folders if f not in gone]
    candidates = [f for f in kept if not f.in_use]
    if limits.keep_hours is not None:
        assert all(NOW_NS - f.modified_ns <= limits.keep_hours * HOUR_NS for f in candidates)
    deletable = [f for f in candidates if not f.newest]
    if deletable and limits.keep_bytes is not None:
        assert sum(f.nbytes for f in kept) <= limits.keep_bytes
    if deletable and limits.keep_free is not None:
        assert free + sum(f.nbytes for f in gone) >= limits.keep_free


def age(path: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    for name in [*path.iterdir(), path]:
        os.utime(name, (then, then))


@pytest.fixture
def old(tmp_path: Path) -> RawBuffer:
    """Two modules with three data folders, 30, 20 and 10 hours old."""
    raw = RawBuffer(tmp_path / "JF")
    for hours, pulse_id in ((30, 100_000), (20, 200_000), (10, 300_000)):
        for module in raw.modules:
            raw.put(module, pulse_id)
            age(raw.path(module, pulse_id).parent, hours)
    return raw


def left(raw: RawBuffer) -> dict[str, list[str]]:
    return {m: sorted(p.name for p in (raw.folder / m).iterdir()) for m in raw.modules}


def test_a_scan_sees_the_modules_of_a_detector_together(old):
    found = scan(old.folder, now_ns=time.time_ns())
    assert [(f.number, len(f.paths), f.newest, f.in_use, f.blocked) for f in found] == [
        (100_000, 2, False, False, ""),
        (200_000, 2, False, False, ""),
        (300_000, 2, True, False, ""),
    ]
    on_disk = sum(p.stat().st_blocks * 512 for m in old.modules for p in (old.folder / m / "100000").iterdir())
    assert found[0].nbytes == on_disk > 0


def test_a_folder_without_detector_json_is_none_of_ours(tmp_path):
    (tmp_path / "M00" / "100000").mkdir(parents=True)
    assert scan(tmp_path, now_ns=time.time_ns()) == []
    assert scan(tmp_path / "nothing", now_ns=time.time_ns()) == []


def test_the_keeper_deletes_whole_folders_of_all_modules(old):
    keeper = RetentionKeeper([old.folder], Limits(keep_hours=15))
    stats = keeper.run_once()
    assert left(old) == {"M00": ["300000"], "M01": ["300000"]}
    assert (stats.folders, stats.deleted_folders, stats.errors, stats.message) == (1, 2, 0, "")
    assert stats.oldest_hours == pytest.approx(10, abs=0.1)
    assert stats.deleted_bytes > 0
    assert stats.free_bytes > 0
    assert stats.oldest_pulse == 300_000
    assert stats.state == "Idle"
    assert f": deleted data folder 200000 of {old.folder}, " in stats.last_action


def test_the_newest_stays_and_the_keeper_says_so(old):
    stats = RetentionKeeper([old.folder], Limits(keep_bytes=1)).run_once()
    assert left(old) == {"M00": ["300000"], "M01": ["300000"]}
    assert stats.message == f"{old.folder}: data folder 300000 is to go but is the newest"
    assert stats.state == "Blocked"


def test_what_a_writer_has_open_stays(tmp_path):
    frames = FrameMaker(10)
    sink = BufferWriter(tmp_path / "JF", "M00", frames.shape, dtype="uint8", frame_shape=(10,))
    for pulse_id in (100_000, 200_000):
        with frames.lease(pulse_id) as lease:
            sink.write([lease])

    def age_all() -> None:
        for number in ("100000", "200000"):
            age(tmp_path / "JF" / "M00" / number, 10)

    age_all()
    keeper = RetentionKeeper([tmp_path / "JF"], Limits(keep_hours=1))
    stats = keeper.run_once()
    assert stats.deleted_folders == 0
    assert stats.message.endswith("data folder 100000 is to go but is in use")
    sink.close()  # writes the last sidecar entries
    frames.close()
    age_all()
    assert keeper.run_once().deleted_folders == 2


def test_what_was_written_just_now_stays(old):
    old.put("M01", 100_001)
    RetentionKeeper([old.folder], Limits(keep_hours=1)).run_once()
    assert left(old) == {"M00": ["100000"], "M01": ["100000"]}


def test_a_folder_with_something_else_in_it_stays(old):
    notes = old.folder / "M01" / "100000" / "notes.txt"
    notes.write_text("the best run of the year")
    age(notes.parent, 30)
    stats = RetentionKeeper([old.folder], Limits(keep_hours=15)).run_once()
    assert left(old) == {"M00": ["100000", "300000"], "M01": ["100000", "300000"]}
    assert stats.message.endswith(f"is to go but holds {notes}, which is not the buffer's")


def test_a_deletion_that_was_cut_short_is_finished(old):
    (old.folder / "M00" / "100000").rename(old.folder / "M00" / ".deleting-100000")
    RetentionKeeper([old.folder], Limits()).run_once()
    assert left(old)["M00"] == ["200000", "300000"]


def test_a_failure_is_counted_and_named(old, monkeypatch):
    def refuse(folder: DataFolder, _: object) -> bool:
        raise PermissionError(13, "Permission denied", str(folder.paths[0]))

    monkeypatch.setattr(retention, "delete", refuse)
    keeper = RetentionKeeper([old.folder], Limits(keep_hours=15))
    assert keeper.run_once().errors == 1
    assert keeper.stats().message == f"{old.folder}/M00/100000: Permission denied"
    assert keeper.stats().state == "Failing"


def test_new_limits_take_effect_without_waiting_for_the_period(old):
    with RetentionKeeper([old.folder], Limits()) as keeper:
        keeper.set_limits(Limits(keep_hours=15))
        until(lambda: keeper.stats().deleted_folders == 2)
        assert keeper.limits == Limits(keep_hours=15)
    assert left(old) == {"M00": ["300000"], "M01": ["300000"]}


def test_a_stop_cuts_a_deletion_short_and_the_next_keeper_finishes_it(old):
    found = scan(old.folder, now_ns=time.time_ns())[0]
    answers = iter((False, True))
    assert not delete(found, lambda: next(answers))
    hidden = [old.folder / m / ".deleting-100000" for m in old.modules]
    assert all(path.exists() for path in hidden)  # out of sight for all modules at once
    assert [f.number for f in scan(old.folder, now_ns=time.time_ns())] == [200_000, 300_000]
    stats = RetentionKeeper([old.folder], Limits()).run_once()
    assert not any(path.exists() for path in hidden)
    assert (stats.folders, stats.state) == (2, "Disabled")


def test_a_stop_cuts_a_look_short_and_nothing_is_judged_by_half_of_it(old):
    answers = iter((False, True, True))
    found = scan(old.folder, now_ns=time.time_ns(), stopping=lambda: next(answers))
    assert [f.number for f in found] == [100_000]
    keeper = RetentionKeeper([old.folder], Limits(keep_hours=15))
    keeper.close()
    assert keeper.run_once().folders == 0
    assert left(old)["M00"] == ["100000", "200000", "300000"]


def test_the_keeper_follows_the_folders(old, tmp_path):
    keeper = RetentionKeeper([tmp_path / "elsewhere"], Limits(keep_hours=15))
    assert keeper.run_once().folders == 0
    keeper.set_detectors([old.folder])
    assert keeper.detectors == (old.folder,)
    assert keeper.run_once().deleted_folders == 2
