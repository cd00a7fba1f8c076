"""Tables over PV Access: complete at every update, and read-only."""

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from p4p.client.thread import RemoteError

from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import M00, receiving, start, write_config
from tests.support.waiting import until

STEPS = 40

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def ioc(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path) -> Iterator[IocProcess]:
    with start(write_config(tmp_path_factory.mktemp("ioc"))) as process:
        yield receiving(process)  # the start of the last one is an event, too


def table(ioc: IocProcess, name: str) -> dict[str, Any]:
    value = ioc.pva.get(f"{ioc.prefix}Tables:{name}", timeout=10.0)
    assert value.getID() == "epics:nt/NTTable:1.0"
    assert list(value.value.keys()) == list(value.labels)
    return {column: list(cells) for column, cells in value.value.items()}


def row(found: dict[str, Any], worker: str, **more: str) -> dict[str, Any]:
    rows = [dict(zip(found, cells, strict=True)) for cells in zip(*found.values(), strict=True)]
    (one,) = [r for r in rows if r["worker"] == worker and all(r[name] == value for name, value in more.items())]
    return one


def test_modules_and_pools_are_rows(ioc: IocProcess) -> None:
    ioc.ask(M00, "set", **{"pulse_id": 1 << 53, "pebble.count": 8, "pebble.in_use": 3})
    until(lambda: row(table(ioc, "Modules"), M00)["pulse_id"], lambda pulse_id: pulse_id == 1 << 53)
    assert table(ioc, "Modules")["worker"] == ["udp.M00", "udp.M01", "pva.CAM"]
    assert row(table(ioc, "Pools"), M00, pool="pebble")["in_use"] == 3


def test_events_are_rows_the_newest_first(ioc: IocProcess) -> None:
    ioc.ask(M00, "set", state="Stalled")
    found = until(lambda: table(ioc, "Events"), lambda t: t["text"][:1] == ["Receiving -> Stalled"])
    assert (found["source"][0], found["severity"][0]) == ("M00:State_RBV", "Major")
    ioc.ask(M00, "set", state="Receiving")


def test_a_table_is_never_torn(ioc: IocProcess) -> None:
    """A snapshot settles all packets that came: so must every update of the table, in all columns."""
    updates: queue.Queue[Any] = queue.Queue()
    subscription = ioc.pva.monitor(f"{ioc.prefix}Tables:Balance", updates.put)
    before = ioc.ask(M00, "status")["packets"]
    for step in range(1, STEPS + 1):
        ioc.ask(
            M00, "set", **{f"packets.{name}": before[name] + 1000 * step for name in ("received", "placed", "expected")}
        )
        until(
            lambda: row(table(ioc, "Balance"), M00, line="packets.received")["came"],
            lambda came, wanted=before["received"] + 1000 * step: came == wanted,
        )
    subscription.close()
    seen: set[int] = set()
    while not updates.empty():
        value = updates.get()
        found = {column: list(cells) for column, cells in value.value.items()}
        received, expected = (row(found, M00, line=f"packets.{line}") for line in ("received", "expected"))
        assert received["came"] - received["settled"] == received["open"]
        assert received["came"] - before["received"] == expected["came"] - before["expected"]
        assert f"{received['settled']} placed" in received["fates"] or not received["settled"]
        seen.add(received["came"])
    assert len(seen) >= STEPS


def test_nobody_writes_a_table(ioc: IocProcess) -> None:
    with pytest.raises(RemoteError):
        ioc.pva.put(f"{ioc.prefix}Tables:Pools", {"labels": ["x"]}, timeout=10.0)
    assert table(ioc, "Pools")["worker"] != ["x"]
