import pytest

from detectors.config import parse_config
from detectors.errors import SizingError
from ioc.plan import Plan

CAMERA = '[detector]\nname = "D"\nprefix = "D:"\n[[pva]]\nname = "CAM"\npv = "X"\n'


def test_every_number_has_its_reason() -> None:
    config = parse_config(
        CAMERA + '[dma]\ncfgRxCount = 80\ncfgSize = "1 MiB"\n[[udp]]\nname="M00"\nexpect_module_id = 0\nport=50000\n'
    )
    lines = Plan(config).text.splitlines()
    assert lines[0] == "M00: payload 1,048,576 bytes"
    assert lines[1].startswith("  DMA: 80 x 1 MiB = 80 MiB (80: cfgRxCount")
    assert lines[2].startswith("  Pebble: 128 x 1.01 MiB = 129.5 MiB (128: next power of two above cfgRxCount = 80")
    assert lines[3] == "CAM: payload unknown"
    assert lines[6].startswith("  Transition: 128 x ? = ? (128: one for each pebble slot")


def test_the_plan_follows_a_payload_that_shows_later() -> None:
    plan = Plan(parse_config(CAMERA))
    plan.connected("CAM", 0)
    assert plan.text.startswith("CAM: payload unknown")
    plan.connected("CAM", 8 << 20)
    assert plan.text.startswith("CAM: payload 8,388,608 bytes")
    assert "Transition: 128 x 8 MiB = 1 GiB" in plan.text


def test_a_payload_that_breaks_a_rule_is_told() -> None:
    plan = Plan(parse_config(CAMERA))
    plan.connected("CAM", 1 << 40)
    assert "does not hold one image of 1,099,511,627,776 bytes" in plan.text


def test_a_plan_that_breaks_a_rule_is_refused() -> None:
    with pytest.raises(SizingError, match="expected a power of two"):
        Plan(parse_config(CAMERA + "[pools]\npebbleBufCount = 100\n"))
