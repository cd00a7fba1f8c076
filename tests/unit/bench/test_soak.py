"""The judgements of the long runs: each must be able to fail."""

import itertools
import mmap
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.soak.kills import IOC, victims
from bench.soak.memory import TOLERANCE_MIB, Memory, resident_bytes, verdict
from bench.soak.outages import IN_FLIGHT_S, Outage, unexplained
from bench.soak.processes import end_all, with_runtime_dir
from bench.soak.result import Result
from bench.soak.setup import CAMERA, FIRST_PULSE, Place, Setup, config
from detectors.pools.sizing import plan_buffers

SECOND = 10**9
OUTAGE = Outage("udp.M00", 100 * SECOND, 103 * SECOND)


@pytest.mark.parametrize(
    ("time_s", "explained"),
    [(99.4, False), (100 - IN_FLIGHT_S, True), (101, True), (103, True), (103.01, False)],
)
def test_only_what_was_sent_during_an_outage_or_in_flight_may_be_missing(time_s, explained):
    time_ns = round(time_s * SECOND)
    assert unexplained([time_ns], [OUTAGE]) == ([] if explained else [time_ns])


def test_without_an_outage_nothing_may_be_missing():
    assert unexplained([5, 7], []) == [5, 7]
    assert OUTAGE.seconds == 3


@given(st.lists(st.floats(10, 500), min_size=8, max_size=400), st.floats(0.02, 2))
def test_a_leak_is_told_from_noise(noise, leak_per_sample):
    steady = [min(x, 12.0) for x in noise]
    assert verdict("ioc", steady).flat
    grown = verdict("ioc", [x + i * leak_per_sample for i, x in enumerate(steady)])
    # The medians of the outer quarters are at least half the samples apart; noise is worth 2 MiB at most.
    if leak_per_sample * len(steady) / 2 > TOLERANCE_MIB + 2:
        assert not grown.flat


def test_one_high_sample_is_no_leak():
    assert verdict("ioc", [50.0] * 19 + [90.0]).flat
    assert verdict("ioc", [50.0] * 19 + [90.0]).highest_mib == 90


def test_resident_memory_is_that_of_the_process():
    own = resident_bytes(os.getpid())
    assert own is not None
    with mmap.mmap(-1, 64 << 20) as held:  # pages of its own: the allocator may hand out what was resident already
        held.write(b"x" * len(held))
        grown = resident_bytes(os.getpid())
    assert grown is not None
    assert grown - own > 56 << 20
    assert resident_bytes(2**22 + 1) is None


def test_too_short_a_run_is_not_judged():
    memory = Memory(warm_up_s=0)
    memory.sample({"ours": os.getpid(), "none yet": 0})
    assert memory.verdicts() == []


def test_every_victim_has_its_turn():
    workers = ["udp.M00", "udp.M01", "pva.CAM"]
    found = list(itertools.islice(victims(workers, random.Random(3)), 10))
    for chosen in (found[:5], found[5:]):
        assert {(w,) for w in workers} | {(IOC,)} < set(chosen)
        assert [c for c in chosen if len(c) == 2 and c[1] == IOC and c[0] in workers]
    again = list(itertools.islice(victims(workers, random.Random(3)), 10))
    assert found == again


def test_the_configuration_is_what_was_asked_for(tmp_path):
    setup = Setup(modules=2, pulse_rate_hz=100, camera_shape=(2048, 4096), pulses_per_image=20)
    made = config(setup, Place("SOAK1:", tmp_path, (5001, 5002), 5003))
    assert [m.name for m in made.udp] == ["M00", "M01"]
    assert made.pva[0].name == CAMERA
    assert setup.camera_rate_hz == 5
    assert setup.image_bytes == 16 << 20
    # about 9 GB in 30 s
    assert 8.5e9 < 30 * setup.bytes_per_s < 9.5e9
    assert setup.time_ns(FIRST_PULSE + 100, 7) == SECOND + 7
    plan = plan_buffers(made, made.pva[0])
    assert plan.dma.total_bytes >= 2 * setup.image_bytes
    with pytest.raises(ValueError, match="zip"):
        config(setup, Place("SOAK1:", tmp_path, (5001,), 5003))


def test_a_result_is_right_only_when_all_of_it_is(tmp_path):
    result = Result("steady")
    result.expect("frames", 3, 3)
    result.memory.append(verdict("ioc", [10.0] * 8))
    assert result.ok
    for spoil in (
        lambda r: r.expect("frames", 2, 3),
        lambda r: r.memory.append(verdict("ioc", [10.0] * 4 + [20.0] * 4)),
        lambda r: r.problems.append("left behind"),
    ):
        other = Result("steady")
        spoil(other)
        assert not other.ok
    result.write(tmp_path / "result.json")
    assert '"agrees": true' in (tmp_path / "result.json").read_text()


def test_processes_are_found_by_their_runtime_folder_and_ended(tmp_path: Path):
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    ours = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
    )
    with ours:
        assert ours.stdout is not None
        ours.stdout.readline()
        found = with_runtime_dir(tmp_path)
        assert list(found) == [ours.pid]
        assert "time.sleep" in found[ours.pid]
        assert with_runtime_dir(tmp_path / "other") == {}
        end_all(tmp_path, wait_s=0.3)
        assert ours.wait(10) == -9
    assert with_runtime_dir(tmp_path) == {}
