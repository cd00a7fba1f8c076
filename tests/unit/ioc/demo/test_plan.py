from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.config import parse_config
from detectors.errors import HostError
from detectors.pools.sizing import plan_buffers
from ioc.demo.plan import DemoHost, Place, config_text, make_plan

GIB = 1 << 30
LARGE = DemoHost(disk=100 * GIB, shared_memory=16 * GIB, memory=16 * GIB, receive_buffer=64 << 20)
PLACE = Place("DEMO:", "DEMO:SIM:image", Path("/tmp/data"), (50001, 50002), 50003, 50004)


def test_a_good_machine_runs_at_full_rate():
    plan = make_plan(LARGE, 15)
    assert (plan.module_rate_hz, plan.camera_rate_hz, plan.notes) == (100, 10, ())
    assert plan.bytes_per_s == pytest.approx(2 * 1_048_617 * 100 + 8_388_649 * 10)


def test_little_disk_lowers_the_rates_and_says_so():
    plan = make_plan(replace(LARGE, disk=3 * GIB), 15)
    assert 1 <= plan.module_rate_hz < 100
    assert plan.bytes_per_s * 15 <= 2 * GIB
    assert "rates lowered" in plan.notes[0]
    assert "4.4 GB would be written" in plan.notes[0]


def test_a_small_socket_buffer_lowers_rate_and_burst_and_says_what_to_type():
    plan = make_plan(replace(LARGE, receive_buffer=212_992), 15)
    assert 1 <= plan.module_rate_hz < 20
    assert plan.burst < 12
    assert "sudo sysctl -w net.core.rmem_max" in plan.notes[0]


def test_little_memory_makes_smaller_pools():
    plan = make_plan(replace(LARGE, shared_memory=GIB // 2), 15)
    assert (plan.module_rx_count, plan.camera_rx_count) == (32, 8)
    assert "small pools" in plan.notes[0]


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        (replace(LARGE, disk=GIB // 2), "disk: found 0.5 GB free"),
        (replace(LARGE, shared_memory=64 << 20), "64 MiB in /dev/shm"),
    ],
)
def test_too_little_is_refused(machine, text):
    with pytest.raises(HostError, match=text):
        make_plan(machine, 15)


def test_no_end_needs_room_for_what_is_kept_only():
    assert make_plan(replace(LARGE, disk=11 * GIB), None).module_rate_hz == 100
    assert make_plan(replace(LARGE, disk=11 * GIB), 600).module_rate_hz < 10


@given(
    st.builds(
        DemoHost,
        disk=st.integers(0, 2**41),
        shared_memory=st.integers(0, 2**36),
        memory=st.integers(0, 2**37),
        receive_buffer=st.integers(2304, 2**27),
    ),
    st.one_of(st.none(), st.floats(1, 10_000)),
)
def test_any_machine_gets_a_configuration_that_fits_or_a_refusal(machine, seconds):
    try:
        plan = make_plan(machine, seconds)
    except HostError:
        wanted = 3e6 * (30 if seconds is None else seconds)  # one frame a second
        assert machine.disk - GIB < wanted or machine.shared_memory < GIB // 2 or machine.memory < 2 * GIB
        return
    assert 0 < plan.module_rate_hz <= 100
    assert plan.bytes_per_s * (30 if seconds is None else seconds) <= machine.disk
    config = parse_config(config_text(plan, PLACE))
    assert config.web is not None
    assert config.web.port == 50004
    assert parse_config(config_text(plan, replace(PLACE, web_port=None))).web is None
    sizes = [plan_buffers(config, source) for source in (*config.udp, *config.pva)]
    assert sum(size.pebble.total_bytes for size in sizes) <= machine.shared_memory
