import asyncio
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from detectors.config import parse_config
from detectors.errors import CommandError, HostError
from detectors.stats import KeeperStatus, LimitsShown, RetentionStats, flat
from detectors.worker_names import workers
from ioc.retention import Retention
from ioc.roster import Roster

GIB = 1 << 30

HOSTS = (
    '[control]\nport_base = 52000\ncurve_keys = "/keys"\n'
    + "".join(
        f'[[host]]\nname = "{host}"\n[[udp]]\nname = "{host}M"\nport = 1\nhost = "{host}"\n' for host in ("a", "b")
    )
    + '[[udp]]\nname = "M"\nport = 2\n'
)


class Hosts:
    """What the keepers of hosts were asked, and the limits that they have."""

    def __init__(self, **limits: float) -> None:
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.keep = LimitsShown(**limits)
        self.refuses = ""

    async def ask(self, worker: str, command: str, timeout_s: float = 2.0, **args: Any) -> Any:
        if command == "status":
            return asdict(KeeperStatus(keep=self.keep))
        if worker == self.refuses:
            raise CommandError("no")
        self.sent.append((worker, command, args))
        return None


def made(folder: Path, hosts: Hosts | None = None, responding: tuple[str, ...] = (), **limits: object) -> Retention:
    """The retention of a server; with ``hosts`` of one with the hosts a and b beside the IOC's."""
    lines = "\n".join(f"{name} = {value!r}" for name, value in {"folder": str(folder), **limits}.items())
    modules = HOSTS if hosts else '[[udp]]\nname = "M"\nport = 2\n'
    config = parse_config(f'[detector]\nname = "D"\nprefix = "T:"\n{modules}[disk]\n{lines}\n')
    assert config.disk
    roster = Roster(workers(config))
    roster.responding = frozenset(responding)
    return Retention(config, config.disk, roster, (hosts or Hosts()).ask)


def give(retention: Retention, value: object, name: str) -> None:
    asyncio.run(retention.handlers()["retention_limit"].apply(value, name))  # type: ignore[arg-type]


def shown(retention: Retention, name: str) -> float:
    present = retention.handlers()["retention_limit"].present
    assert present is not None
    return present(name)


def test_it_is_off_by_default(tmp_path: Path) -> None:
    retention = made(tmp_path)
    assert retention.status({}).keep == LimitsShown(0, 0, 0)
    assert retention.status({}).stats.state == "Off"


def test_limits_begin_as_configured(tmp_path: Path) -> None:
    retention = made(tmp_path, keep_size="3 GiB", keep_hours=24, keep_free="1.5 GiB")
    assert retention.status({}).keep == LimitsShown(3, 24, 1.5)


def test_limits_are_set_and_taken_off_one_by_one(tmp_path: Path) -> None:
    retention = made(tmp_path)
    for name, value in (("size_gib", 2.5), ("hours", 12.0), ("free_gib", 1e-3)):
        give(retention, value, name)
        assert shown(retention, name) == pytest.approx(value, rel=1e-6)
    give(retention, 0, "hours")
    assert [shown(retention, name) for name in ("size_gib", "hours")] == [2.5, 0]


def test_a_limit_is_never_rounded_to_nothing(tmp_path: Path) -> None:
    retention = made(tmp_path)
    give(retention, 1e-15, "size_gib")
    assert shown(retention, "size_gib") == 1 / GIB


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), -1e-9])
def test_senseless_limits_are_refused(tmp_path: Path, value: float) -> None:
    retention = made(tmp_path)
    for name in ("size_gib", "hours", "free_gib"):
        with pytest.raises(CommandError, match="expected a positive number, or 0 for no limit"):
            give(retention, value, name)
        assert shown(retention, name) == 0


def test_a_mark_that_the_disk_can_never_reach_is_refused(tmp_path: Path) -> None:
    total = shutil.disk_usage(tmp_path).total
    retention = made(tmp_path)
    retention.start([tmp_path / "D"])
    try:
        with pytest.raises(CommandError, match=r"to keep free, but the file system of .* GiB in total; set less"):
            give(retention, total / GIB, "free_gib")
        assert shown(retention, "free_gib") == 0
    finally:
        retention.close()
    configured = made(tmp_path, keep_free=total)
    with pytest.raises(HostError, match=r"^disk.keep_free: found"):
        configured.start([tmp_path / "D"])
    configured.close()


def keeper(host: str, **values: Any) -> dict[str, dict[str, Any]]:
    """What the records of a keeper show."""
    status = KeeperStatus(worker=f"keeper.{host}", pid=1)
    return {f"keeper.{host}": flat(status) | values}


KEEPERS = ("keeper.a", "keeper.b")


def test_a_limit_goes_to_the_keepers_that_respond_and_to_the_others_when_they_do(tmp_path: Path) -> None:
    hosts = Hosts()
    retention = made(tmp_path, hosts, KEEPERS[:1])
    give(retention, 2.5, "size_gib")
    wanted = asdict(LimitsShown(size_gib=2.5))
    assert hosts.sent == [("keeper.a", "check_limits", wanted), ("keeper.a", "limits", wanted)]
    hosts.sent.clear()
    asyncio.run(retention.settle("keeper.b"))
    assert hosts.sent == [("keeper.b", "limits", wanted)]
    hosts.keep = LimitsShown(size_gib=2.5)
    asyncio.run(retention.settle("keeper.b"))
    assert len(hosts.sent) == 1


def test_a_limit_that_one_host_refuses_is_set_nowhere(tmp_path: Path) -> None:
    hosts = Hosts()
    hosts.refuses = "keeper.b"
    retention = made(tmp_path, hosts, KEEPERS)
    with pytest.raises(CommandError, match=r"^keeper.b: no$"):
        give(retention, 1, "hours")
    assert [command for _, command, _ in hosts.sent] == ["check_limits"]
    assert shown(retention, "hours") == 0


def test_two_limits_that_are_set_at_once_both_hold(tmp_path: Path) -> None:
    retention = made(tmp_path, Hosts(), KEEPERS)
    apply = retention.handlers()["retention_limit"].apply

    async def both() -> None:
        await asyncio.gather(apply(2, "hours"), apply(3, "size_gib"))

    asyncio.run(both())
    assert retention.status({k: v for host in "ab" for k, v in keeper(host).items()}).keep == LimitsShown(3, 2, 0)


def test_limits_that_were_set_before_this_ioc_are_taken_over(tmp_path: Path) -> None:
    retention = made(tmp_path, Hosts(), KEEPERS, keep_hours=24)
    retention.adopt(asdict(KeeperStatus(keep=LimitsShown(hours=12))))
    retention.adopt(
        asdict(KeeperStatus(keep=LimitsShown(hours=24)))
    )  # one that has just started, with the configuration
    assert shown(retention, "hours") == 12


def test_the_records_show_what_all_hosts_have(tmp_path: Path) -> None:
    retention = made(tmp_path, Hosts())
    one = {"files": 3, "kept_bytes": 30, "deleted_files": 1, "deleted_bytes": 10, "free_bytes": 500, "errors": 1}
    one |= {"oldest_hours": 5.0, "oldest_pulse": 7, "last_action": "2026-11-28 10:00:00: b"}
    two = {**one, "free_bytes": 400, "oldest_hours": 6.0, "oldest_pulse": 8, "last_action": "2026-11-28 09:00:00: a"}
    values = keeper("a", state="Blocked", message="too full", **{f"retention.{k}": v for k, v in one.items()})
    values |= keeper("b", state="Idle", **{f"retention.{k}": v for k, v in two.items()})
    retention._keeper.stats = RetentionStats(state="Deleting", files=1, free_bytes=900)
    assert retention.status(values).stats == RetentionStats(
        state="Blocked",
        files=7,
        kept_bytes=60,
        deleted_files=2,
        deleted_bytes=20,
        free_bytes=400,
        oldest_hours=6.0,
        oldest_pulse=8,
        errors=2,
        message="a: too full",
        last_action="2026-11-28 10:00:00: b",
    )


def test_a_keeper_that_is_gone_or_does_not_come_is_a_failure(tmp_path: Path) -> None:
    retention = made(tmp_path, Hosts())
    retention._keeper.stats = RetentionStats(state="Idle", free_bytes=900)
    gone = {"state": "Failed", "message": "sent no snapshot", "retention.free_bytes": 300}
    stats = retention.status(keeper("a", **gone) | keeper("b", pid=0)).stats
    assert (stats.state, stats.message, stats.free_bytes) == ("Failing", "a: sent no snapshot", 300)
    stats = retention.status(keeper("a", pid=0) | keeper("b", pid=0, state="Failed", message="start it there")).stats
    assert (stats.state, stats.message, stats.free_bytes) == ("Failing", "b: start it there", 900)
