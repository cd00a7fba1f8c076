import asyncio
import shutil
from pathlib import Path

import pytest

from detectors.config import DiskSection
from detectors.errors import CommandError, HostError
from ioc.retention import LimitsShown, Retention

GIB = 1 << 30


def give(retention: Retention, value: object, name: str) -> None:
    asyncio.run(retention.handlers()["retention_limit"].apply(value, name))  # type: ignore[arg-type]


def shown(retention: Retention, name: str) -> float:
    present = retention.handlers()["retention_limit"].present
    assert present is not None
    return present(name)


def test_it_is_off_by_default(tmp_path: Path) -> None:
    retention = Retention(DiskSection(folder=tmp_path), "T:")
    assert retention.status().keep == LimitsShown(0, 0, 0)
    assert retention.status().stats.state == "Off"


def test_limits_begin_as_configured(tmp_path: Path) -> None:
    disk = DiskSection.model_validate(
        {"folder": tmp_path, "keep_size": "3 GiB", "keep_hours": 24, "keep_free": "1.5 GiB"}
    )
    assert Retention(disk, "T:").status().keep == LimitsShown(3, 24, 1.5)


def test_limits_are_set_and_taken_off_one_by_one(tmp_path: Path) -> None:
    retention = Retention(DiskSection(folder=tmp_path), "T:")
    for name, value in (("size_gib", 2.5), ("hours", 12.0), ("free_gib", 1e-3)):
        give(retention, value, name)
        assert shown(retention, name) == pytest.approx(value, rel=1e-6)
    give(retention, 0, "hours")
    assert [shown(retention, name) for name in ("size_gib", "hours")] == [2.5, 0]


def test_a_limit_is_never_rounded_to_nothing(tmp_path: Path) -> None:
    retention = Retention(DiskSection(folder=tmp_path), "T:")
    give(retention, 1e-15, "size_gib")
    assert shown(retention, "size_gib") == 1 / GIB


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), -1e-9])
def test_senseless_limits_are_refused(tmp_path: Path, value: float) -> None:
    retention = Retention(DiskSection(folder=tmp_path), "T:")
    for name in ("size_gib", "hours", "free_gib"):
        with pytest.raises(CommandError, match="expected a positive number, or 0 for no limit"):
            give(retention, value, name)
        assert shown(retention, name) == 0


def test_a_mark_that_the_disk_can_never_reach_is_refused(tmp_path: Path) -> None:
    total = shutil.disk_usage(tmp_path).total
    retention = Retention(DiskSection(folder=tmp_path), "T:")
    retention.start([tmp_path / "D"])
    try:
        with pytest.raises(CommandError, match=r"to keep free, but the file system of .* GiB in total; set less"):
            give(retention, total / GIB, "free_gib")
        assert shown(retention, "free_gib") == 0
    finally:
        retention.close()
    configured = Retention(DiskSection.model_validate({"folder": tmp_path, "keep_free": total}), "T:")
    with pytest.raises(HostError, match=r"^disk.keep_free: found"):
        configured.start([tmp_path / "D"])
    configured.close()
