import dataclasses
import random
from typing import Any

import pytest

from detectors.balance import balance
from detectors.stats import CaptureStatus, MonitorStatus, OutputStats, ReceiverStatus, StreamStatus, flat
from ioc.events import LoggedEvent
from ioc.tables import COLUMNS, balance_rows, tables


def filled(status: Any, numbers: random.Random) -> Any:
    """A snapshot with a number of its own in every counter, and every output there."""

    def value(name: str, now: Any) -> Any:
        if isinstance(now, OutputStats):
            return dataclasses.replace(filled(now, numbers), name=name)
        if dataclasses.is_dataclass(now):
            return filled(now, numbers)
        return numbers.randrange(1 << 40) if type(now) is int else now

    return dataclasses.replace(
        status, **{field.name: value(field.name, getattr(status, field.name)) for field in dataclasses.fields(status)}
    )


@pytest.mark.parametrize("kind", [ReceiverStatus, MonitorStatus, StreamStatus, CaptureStatus])
def test_the_lines_are_those_of_the_balance(kind: type) -> None:
    status = filled(kind(), random.Random(1))
    expected = balance(status)
    rows = balance_rows("w", flat(status))
    assert {row[1]: row[4] for row in rows} == {row[1]: expected[row[1]] for row in rows}
    left_out = {
        name for name in expected if not name.endswith((".offered", ".durable")) and name not in ("pebble", "pool")
    }
    assert {row[1] for row in rows} == left_out


def test_an_output_that_is_not_there_has_no_line() -> None:
    assert [row[1] for row in balance_rows("w", flat(ReceiverStatus()))] == [
        "packets.received",
        "packets.expected",
        "frames",
    ]


def test_fates_are_told_in_words() -> None:
    values = flat(ReceiverStatus()) | {"packets.expected": 128, "packets.placed": 125, "packets.lost": 3}
    row = next(row for row in balance_rows("udp.M00", values) if row[1] == "packets.expected")
    assert row == ("udp.M00", "packets.expected", 128, 128, 0, "125 placed, 3 lost")


def test_all_columns_of_a_table_have_one_length() -> None:
    module = flat(ReceiverStatus(state="Receiving")) | {"pebble.count": 4, "recent.packets.lost": 2}
    workers = {"udp.M00": module, "pva.CAM": flat(MonitorStatus()), "stream": flat(StreamStatus())}
    found = tables(workers, [LoggedEvent(1_500_000_000, "M00", 2, "lost")])
    for name, columns in COLUMNS.items():
        assert list(found[name]) == list(columns)
        assert len({len(column) for column in found[name].values()}) == 1
    assert found["Pools"]["worker"] == ["udp.M00"]
    assert found["Modules"]["worker"] == ["udp.M00", "pva.CAM"]
    assert found["Modules"]["lost_recently"] == [2, 0]
    assert [column[0] for column in found["Events"].values()] == [1, 500_000_000, "M00", "Major", "lost"]
