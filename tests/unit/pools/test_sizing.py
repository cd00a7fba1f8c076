import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from detectors.config import DmaSection, PoolsSection, PvaSection, UdpSection, parse_config
from detectors.errors import SizingError
from detectors.frame import RecordShape
from detectors.pools.buffer_pool import slot_bytes
from detectors.pools.datadev import DriverRing
from detectors.pools.pebble import Pebble
from detectors.pools.region import PAGE
from detectors.pools.sizing import (
    PROCESS_BYTES,
    declared_payload,
    next_power_of_two,
    plan_all,
    plan_buffers,
    size_text,
)
from tests.support.plans import plan_source

MIB = 1 << 20
CONFIG = """
[detector]
name = "D"
prefix = "T:D:"
[[udp]]
name = "M00"
expect_module_id = 0
port = 50000
[[pva]]
name = "CAM"
pv = "CAM:Image"
"""
MODULE = UdpSection(name="M00", port=50000)
CAMERA = PvaSection(name="CAM", pv=("CAM:Image",))


def dma(count: int = 80, size: int = MIB) -> DmaSection:
    return DmaSection.model_validate({"cfgRxCount": count, "cfgSize": size})


def pools(**given) -> PoolsSection:
    return PoolsSection.model_validate(given)


def problems(source, *args, **more) -> list[str]:
    with pytest.raises(SizingError) as caught:
        plan_source(source, *args, **more)
    assert caught.value.exit_code == 2
    return list(caught.value.problems)


def test_the_axis_camera_of_the_document():
    plan = plan_source(CAMERA, dma(80, MIB), pools(pebbleBufSize="84 MiB"), 74 * MIB)
    assert (plan.dma.count, plan.dma.size_bytes, plan.dma.total_bytes) == (80, MIB, 80 * MIB)
    assert (plan.pebble.count, plan.pebble.size_bytes) == (128, 84 * MIB)
    assert size_text(plan.pebble.total_bytes) == "10.5 GiB"
    assert plan.transition is not None
    assert (plan.transition.count, plan.transition.size_bytes) == (128, 74 * MIB)
    assert plan.transition.total_bytes == 9_932_111_872
    assert "128: next power of two above cfgRxCount = 80" in plan.pebble.why
    assert "84 MiB: pebbleBufSize as given, where a record needs 74 MiB" in plan.pebble.why
    assert "128: one for each pebble slot; 74 MiB: payload" in plan.transition.why
    assert plan.record_shape == RecordShape(74 * MIB)


def test_a_module_needs_no_transition_buffers():
    plan = plan_source(MODULE, dma(), pools(), declared_payload(MODULE))
    assert plan.transition is None
    assert plan.payload_bytes == MIB
    assert "Socket" in plan.dma.component
    assert plan.pebble.size_bytes == 259 * PAGE
    assert "41 + 1,048,576 of record, up to 4,095 of alignment and 4 of sentinel" in plan.pebble.why


@pytest.mark.parametrize(("count", "expected"), [(1, 2), (2, 4), (79, 128), (80, 128), (127, 128), (128, 256)])
def test_the_default_count_is_strictly_above(count: int, expected: int):
    assert next_power_of_two(count) == expected
    assert plan_source(MODULE, dma(count, 2 * MIB), pools(), MIB).pebble.count == expected


def test_rule_1_the_ring_holds_an_image():
    assert plan_source(CAMERA, dma(74), pools(), 74 * MIB).dma.total_bytes == 74 * MIB
    (line,) = problems(CAMERA, dma(73), pools(), 74 * MIB)
    assert line.startswith("CAM: dma: 73 x 1 MiB = 73 MiB does not hold one image of 77,594,624 bytes")
    assert "the DMA engine would overrun; raise cfgRxCount to at least 74" in line


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (100, "expected a power of two"),
        (0, "expected a power of two"),
        (-4, "expected a power of two"),
        (64, "expected more than cfgRxCount = 80"),
    ],
)
def test_rule_2_the_count_given(given: int, message: str):
    (line,) = problems(MODULE, dma(80), pools(pebbleBufCount=given), MIB)
    assert line.startswith(f"M00: pebbleBufCount: found {given}, {message}")
    assert "128" in line


def test_rule_2_a_larger_count_is_taken():
    plan = plan_source(MODULE, dma(80), pools(pebbleBufCount=512), MIB)
    assert plan.pebble.count == 512
    assert "512: pebbleBufCount as given" in plan.pebble.why


def test_rule_3_a_size_given_must_hold_the_record():
    assert plan_source(MODULE, dma(), pools(pebbleBufSize=259 * PAGE), MIB).pebble.size_bytes == 259 * PAGE
    (line,) = problems(MODULE, dma(), pools(pebbleBufSize=258 * PAGE), MIB)
    assert "pebbleBufSize: found 1,056,768 bytes, expected at least 1,060,864" in line


def test_rule_3_a_size_given_is_rounded_up_and_says_so():
    plan = plan_source(MODULE, dma(), pools(pebbleBufSize=2_000_000), MIB)
    assert plan.pebble.size_bytes == 2_002_944
    assert "rounded up from 2,000,000 bytes" in plan.pebble.why
    assert "rounded up from 2,000,000 bytes" in plan.pebble.notes


@pytest.mark.parametrize("given", [{"transitionBufCount": 128}, {"transitionBufSize": 4096}])
def test_rule_4_transition_buffers_cannot_be_set(given: dict):
    with pytest.raises(ValidationError, match="transition buffers cannot be set") as caught:
        pools(**given)
    assert caught.value.errors()[0]["loc"] == tuple(given)


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 20), st.booleans())
def test_rule_5_slots_are_pages_that_hold_record_and_sentinel(payload: int, rx_count: int, checked: bool):
    plan = plan_source(CAMERA, dma(rx_count, 1 << 41), pools(checked=checked), payload)
    shape, slot = plan.record_shape, plan.pebble.size_bytes
    assert slot % PAGE == 0
    assert shape.span_bytes + 4 <= slot < shape.span_bytes + 4 + PAGE
    count = plan.pebble.count
    assert rx_count < count <= 2 * rx_count
    assert count & (count - 1) == 0
    assert plan.pebble.total_bytes == count * slot <= plan.pebble.memory_bytes
    transition = plan.transition
    assert transition is not None
    assert (transition.count, transition.size_bytes) == (count, payload)
    assert transition.memory_bytes == count * slot_bytes(payload, checked=checked)
    both, shared = plan.memory_at(count)
    assert shared == plan.pebble.memory_bytes
    assert both == shared + transition.memory_bytes
    assert plan.memory_bytes == both + plan.dma.memory_bytes


def test_the_plan_is_what_the_pebble_takes():
    plan = plan_source(CAMERA, dma(5, 4096), pools(), 10_000)
    pebble = Pebble(None, plan.record_shape, count=plan.pebble.count, slot_bytes=plan.pebble.size_bytes)
    assert pebble.region.nbytes == plan.pebble.memory_bytes
    assert pebble.stats().total_bytes == plan.pebble.total_bytes
    pebble.close()


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (MIB, "1 MiB"),
        (84 * MIB, "84 MiB"),
        (128 * 84 * MIB, "10.5 GiB"),
        (128 * 74 * MIB, "9.25 GiB"),
        (1_060_864, "1.01 MiB"),
        (100 * MIB, "100 MiB"),
        (1000 << 40, "1000 TiB"),
        (1 << 60, "1048576 TiB"),
    ],
)
def test_rule_7_sizes_are_shown_in_binary_units(nbytes: int, text: str):
    assert size_text(nbytes) == text


def test_every_broken_rule_is_reported_at_once():
    found = problems(CAMERA, dma(3), pools(pebbleBufCount=3, pebbleBufSize=4096), 74 * MIB)
    assert [line.split()[1] for line in found] == ["dma:", "pebbleBufCount:", "pebbleBufSize:"]
    config = parse_config(CONFIG + "[dma]\ncfgRxCount = 1\ncfgSize = 4096\n[pools]\npebbleBufCount = 3")
    with pytest.raises(SizingError) as caught:
        plan_all(config)
    assert [line.split()[0] for line in caught.value.problems] == ["M00:", "M00:", "CAM:"]


def test_an_unknown_payload_is_reported_and_the_rest_planned():
    plan = plan_source(CAMERA, dma(), pools(), None)
    assert plan.payload_bytes is None
    assert plan.record_shape == RecordShape(0)
    assert plan.transition is not None
    for size in (plan.pebble, plan.transition):
        assert (size.count, size.size_bytes, size.total_bytes, size.memory_bytes) == (128, 0, 0, 0)
        assert "unknown until the PV is connected" in size.why
    given = plan_source(CAMERA, dma(), pools(pebbleBufSize=MIB), None)
    assert given.pebble.total_bytes == 128 * MIB
    assert problems(CAMERA, dma(), pools(pebbleBufCount=5), None)
    assert problems(CAMERA, dma(), pools(), 0) == ["CAM: payload: found 0 bytes, expected an image of at least 1"]


def test_the_payload_that_the_configuration_declares():
    assert declared_payload(CAMERA) is None
    camera = CAMERA.model_copy(update={"dtype": "uint16", "shape": (4736, 8192)})
    assert declared_payload(camera) == 74 * MIB
    four = camera.model_copy(update={"pv": ("A", "B", "C", "D")})
    assert declared_payload(four) == 4 * 74 * MIB
    config = parse_config(CONFIG)
    assert plan_buffers(config, config.pva[0], payload_bytes=MIB).payload_bytes == MIB
    assert {name: plan.payload_bytes for name, plan in plan_all(config).items()} == {"M00": MIB, "CAM": None}
    assert plan_all(config, payloads={"CAM": 5000})["CAM"].payload_bytes == 5000


def test_the_card_stands_for_the_ring_of_a_camera_only():
    card = DriverRing("/proc/datadev_0", 1024, 131072)
    plan = plan_source(CAMERA, dma(80), pools(), MIB, driver=card)
    assert (plan.dma.count, plan.dma.size_bytes, plan.dma.component) == (1024, 131072, "PGP kernel driver")
    assert "/proc/datadev_0" in plan.dma.why
    assert plan.pebble.count == 2048
    assert plan_source(MODULE, dma(80), pools(), MIB, driver=card).dma.count == 80


def test_each_source_may_have_its_own_ring_and_pools():
    text = CONFIG + "[pva.dma]\ncfgRxCount = 5\n[pva.pools]\npebbleBufCount = 8\n"
    plans = plan_all(parse_config(text))
    assert (plans["M00"].pebble.count, plans["CAM"].pebble.count) == (128, 8)


@pytest.mark.parametrize("timing", [True, False])
def test_the_resident_memory_is_that_of_the_process(timing: bool) -> None:
    plan = plan_source(CAMERA, dma(), pools(), MIB, timing=timing)
    assert (plan.dma.total_bytes, plan.dma.memory_bytes) == (80 * MIB, 80 * MIB if timing else 0)
    assert plan.resident_bytes == PROCESS_BYTES + plan.memory_bytes
    card = plan_source(CAMERA, dma(), pools(), MIB, driver=DriverRing("/proc/x", 4, MIB))
    assert card.resident_bytes == PROCESS_BYTES + card.memory_at(card.pebble.count)[0]
    received = plan_source(MODULE, dma(), pools(), MIB)
    assert received.resident_bytes == PROCESS_BYTES + received.pebble.memory_bytes  # the socket buffer is the kernel's
