from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.config import DmaSection, PoolsSection, PvaSection, UdpSection
from detectors.errors import HostError
from detectors.pools import host_memory
from detectors.pools.available import mem_available
from detectors.pools.host_memory import Machine, check_memory
from detectors.pools.sizing import BufferPlan
from tests.support.plans import plan_source

MIB = 1 << 20
GIB = 1 << 30
MODULE = UdpSection(name="M00", port=50000)
CAMERA = PvaSection(name="CAM", pv=("CAM:Image",))
POOLS = PoolsSection()


def dma(count: int) -> DmaSection:
    return DmaSection.model_validate({"cfgRxCount": count, "cfgSize": MIB})


def camera(rx_count: int = 80, payload: int | None = 74 * MIB) -> BufferPlan:
    return plan_source(CAMERA, dma(rx_count), POOLS, payload)


def test_a_plan_that_fits():
    check_memory([camera()], Machine(20 * GIB, 11 * GIB))
    assert Machine(0, 0).advice([camera(payload=None)]) != ""  # the ring alone
    assert Machine(80 * MIB, 0).advice([camera(payload=None)]) == ""


def test_too_little_shared_memory_names_the_largest_count():
    with pytest.raises(HostError) as caught:
        check_memory([camera()], Machine(100 * GIB, 5 * GIB))
    message = str(caught.value)
    assert message.startswith("/dev/shm: the pebble needs 9.25 GiB, free are 5 GiB")
    assert "the largest pebbleBufCount that fits is 64" in message
    assert "a cfgRxCount below it (now 80)" in message
    assert "\n" not in message
    assert caught.value.exit_code == 1


def test_too_little_memory_names_the_largest_count():
    machine = Machine(10 * GIB, 100 * GIB)
    advice = machine.advice([camera()])
    assert advice.startswith("memory: the buffers need 18.6 GiB, available are 10 GiB")
    assert "is 64" in advice
    assert "not even pebbleBufCount = 2 would fit" in Machine(100 * MIB, GIB).advice([camera()])


def test_a_count_above_the_ring_needs_no_other_ring():
    plan = plan_source(MODULE, dma(8), PoolsSection.model_validate({"pebbleBufCount": 1024}), MIB)
    advice = Machine(GIB, 20 * MIB).advice([plan])
    assert "is 16: set it, or free memory" in advice


def test_the_sum_of_all_sources_counts():
    machine = Machine(100 * GIB, 15 * GIB)
    assert machine.advice([camera()]) == ""
    assert "needs 18.5 GiB" in machine.advice([camera(), camera()])


@given(st.integers(1, 300), st.integers(1, 1 << 28), st.integers(0, 1 << 38), st.integers(0, 1 << 38))
def test_the_count_named_fits_and_twice_that_does_not(rx_count: int, payload: int, memory: int, shm: int):
    plan = plan_source(CAMERA, DmaSection.model_validate({"cfgRxCount": rx_count, "cfgSize": 1 << 28}), POOLS, payload)
    machine = Machine(memory, shm)
    largest = machine.largest_count([plan])
    assert (machine.advice([plan]) == "") == (largest == plan.pebble.count)
    if largest is not None:
        assert machine.shortage([plan], largest) == ""
        assert largest == plan.pebble.count or machine.shortage([plan], 2 * largest) != ""
    else:
        assert machine.shortage([plan], 2) != ""


def test_the_machine_is_asked():
    machine = Machine.read()
    assert machine.mem_available > 0
    assert machine.shm_free > 0


def test_what_a_stale_segment_holds_counts_as_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stale = tmp_path / "segment"
    stale.write_bytes(bytes(MIB))
    monkeypatch.setattr(host_memory, "mem_available", lambda: 5)
    monkeypatch.setattr(host_memory.os, "statvfs", lambda path: SimpleNamespace(f_bavail=7, f_frsize=4096))
    assert Machine.read() == Machine(5, 7 * 4096)
    held = stale.stat().st_blocks * 512
    assert held >= MIB
    assert Machine.read([stale, tmp_path / "missing"]) == Machine(5 + held, 7 * 4096 + held)


def host(tmp_path: Path, available_kb: int, cgroup: str) -> tuple[Path, Path]:
    proc, cgroups = tmp_path / "proc", tmp_path / "fs" / "cgroup"
    (proc / "self").mkdir(parents=True)
    cgroups.mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {available_kb} kB\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    return proc, cgroups


def limit(folder: Path, most: str, used: int, inactive: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\n")


def test_the_tightest_limit_holds(tmp_path: Path):
    proc, cgroups = host(tmp_path, 8 << 20, "0::/user/daq\n")
    assert mem_available(proc, cgroups) == 8 * GIB
    limit(cgroups / "user" / "daq", "max", 0, 0)
    assert mem_available(proc, cgroups) == 8 * GIB
    limit(cgroups / "user", str(4 * GIB), 3 * GIB, GIB // 2)
    assert mem_available(proc, cgroups) == 3 * GIB // 2
    limit(cgroups / "user" / "daq", str(GIB), 2 * GIB, 0)
    assert mem_available(proc, cgroups) == 0


@pytest.mark.parametrize("cgroup", ["", "1:memory:/old\n", "0::/\n"])
def test_hosts_without_limits(tmp_path: Path, cgroup: str):
    proc, cgroups = host(tmp_path, 1 << 20, cgroup)
    assert mem_available(proc, cgroups) == GIB
    (proc / "self" / "cgroup").unlink()
    assert mem_available(proc, cgroups) == GIB


def test_a_kernel_without_mem_available(tmp_path: Path):
    proc, cgroups = host(tmp_path, 1, "")
    (proc / "meminfo").write_text("MemTotal: 1 kB\n")
    with pytest.raises(HostError, match="MemAvailable"):
        mem_available(proc, cgroups)
