"""The whole monitor but for its threads: the test is the source, the timing system and the event thread."""

import ctypes
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.balance import balance
from detectors.config import parse_config
from detectors.counters_page import read_page
from detectors.errors import CommandError, ConfigError, HostError, SizingError, TransitionRefusedError
from detectors.pools.buffer_pool import slot_bytes
from detectors.run_state import RunState, Service
from detectors.totals import counters
from detectors.wire.ntndarray import timestamp_ns
from tests.support.fake_source import FakeSource
from tests.support.monitor_rig import MonitorRig
from tests.support.ports import free_ports

numbers = itertools.count()


@pytest.fixture
def rig(tmp_path: Path, short_runtime_dir: Path) -> Iterator[Callable[..., MonitorRig]]:
    with ExitStack() as stack:

        def make(
            source: str = "",
            *,
            top: str = "",
            timing: bool = False,
            state: RunState = RunState.ENABLED,
            pvs: int = 1,
            connect_timeout_s: float = 0.05,
            sources: list[FakeSource] | None = None,
            specification: str = "",
            page: Path | None = None,
        ) -> MonitorRig:
            names = ", ".join(f'"F{i}=SIM:CAM{i}{specification}"' for i in range(pvs))
            section = f"[timing]\nport = {free_ports(1)[0]}" if timing else ""
            text = f"""
            [detector]
            name = "DET"
            prefix = "T:MON{next(numbers)}:"
            {section}
            [dma]
            cfgRxCount = 3
            cfgSize = "64 KiB"
            {top}
            [[pva]]
            name = "CAM"
            pv = [{names}]
            connect_timeout_s = {connect_timeout_s}
            {source}
            [disk]
            folder = "{tmp_path}"
            direct = false
            min_free = 1
            """
            config = parse_config(text)
            if page:
                page.rename(config.runtime_names.counters("pva.CAM"))
            rig = MonitorRig(config, state, sources or [FakeSource() for _ in range(pvs)], stack)
            rigs.append(rig)
            return rig

        rigs: list[MonitorRig] = []
        yield make
    for rig in rigs:
        assert rig.status.pebble.count == rig.status.transition.count == 0
        assert all(source.closed for source in rig.sources)
        assert not rig.worker._runtime.shm(rig.worker.name).exists()


# --- running free


def test_every_update_is_an_event_and_lands_on_disk(rig: Callable[..., MonitorRig]) -> None:
    r = rig()
    assert r.status.state == "Connecting"
    status = r.up()
    assert (status.payload_bytes, status.shape, status.dtype, status.client) == (64, "4 x 8", "uint16", "fake")
    assert (status.pebble.count, status.transition.count, status.transition.size_bytes) == (4, 4, 64)
    for n in (5, 6, 9):
        assert r.source.send(n)
        r.step()
    status = r.written(3)
    assert (status.updates.match, status.updates.missed, status.pulse_id, status.state) == (3, 2, 9, "Receiving")
    frame = r.frame(6)
    np.testing.assert_array_equal(frame.data, r.source.pixels(6))
    assert (frame.pulse_id, frame.head.frame_index, frame.head.n_recv_packets) == (6, 6, 1)


def test_checked_mode_checks_the_dma_ring_too(rig: Callable[..., MonitorRig]) -> None:
    r = rig(top="[pools]\nchecked = true", timing=True)
    r.up()
    first = np.frombuffer(r.ring._slots[0], np.uint8)
    ctypes.c_uint8.from_address(first.ctypes.data + slot_bytes(first.size, checked=True) - 1).value = 0
    for n in (1, 2, 3):  # each slot of the ring
        r.l1(n)
        r.step()
    assert r.status.dma.overruns == 1


def test_updates_before_the_run_is_enabled_are_counted(rig: Callable[..., MonitorRig]) -> None:
    r = rig(state=RunState.UNCONFIGURED)
    r.source.connect()
    assert not r.source.send(1)
    status = r.ask("Configure")
    assert (status.run_state, status.state) == ("Configured", "Idle")
    assert not r.source.send(2)
    r.ask("BeginRun")
    assert not r.source.send(3)
    r.ask("Enable")
    assert r.source.send(4)
    status = r.step()
    assert (status.updates.updates, status.updates.discarded_disabled, status.updates.match) == (4, 3, 1)
    r.ask("Disable")
    assert not r.source.send(5)
    assert r.status.updates.discarded_disabled == 4


def test_a_source_that_starts_afresh_goes_on_in_pulses(rig: Callable[..., MonitorRig]) -> None:
    r = rig(top="[run]\nautostart = true")
    r.up()
    for n in (100, 101):
        r.source.send(n)
    r.step()
    r.source.disconnect()
    assert r.step().state == "Connecting"
    r.source.connect()
    for n in (1, 2):
        r.source.send(n, timestamp_ns=10_000_000 + n)
    status = r.step()
    assert (status.pulse_id, status.updates.restarts, status.updates.reconnects) == (103, 1, 1)
    r.source.disconnect()
    r.source.connect()
    r.source.send(2, timestamp_ns=10_000_002)  # servers send the last image again
    assert r.step().updates.too_old == 1


def test_pulses_by_time_stamp(rig: Callable[..., MonitorRig]) -> None:
    r = rig('pulse_from = "timestamp"\npulse_period_ns = 1000')
    r.up()
    for stamp in (5_000, 5_999, 8_000):
        r.source.send(1, timestamp_ns=stamp)
    status = r.step()
    assert (status.pulse_id, status.updates.match, status.updates.too_old) == (8, 2, 1)


@pytest.mark.parametrize("timing", [False, True])
@pytest.mark.parametrize("pulse_from", ["unique_id", "timestamp"])
def test_a_time_stamp_of_the_year_2600_is_counted(
    rig: Callable[..., MonitorRig], pulse_from: str, timing: bool
) -> None:
    r = rig(f'pulse_from = "{pulse_from}"\npulse_period_ns = 1', timing=timing)
    r.up()
    far = timestamp_ns({"secondsPastEpoch": 19_880_899_200, "nanoseconds": 0})
    for n in range(1, 4):
        r.source.send(2 * n, timestamp_ns=2000 * n)
        r.source.send(2 * n + 1, timestamp_ns=far)
        r.step()
    assert (r.status.updates.updates, r.status.updates.bad_timestamps) == (6, 3)
    assert timing or r.status.updates.match == 6


def test_a_full_transition_pool_drops_and_counts(rig: Callable[..., MonitorRig]) -> None:
    r = rig()
    r.up()
    assert [r.source.send(n) for n in range(6)] == [True, True, True, True, False, False]
    assert r.status.updates.held == 4
    status = r.step()
    assert (status.updates.exhausted, status.updates.match, status.updates.held) == (2, 4, 0)


def test_a_full_pebble_drops_and_counts(rig: Callable[..., MonitorRig]) -> None:
    r = rig(top="[pools]\nexhausted_wait_s = 0.0")
    r.up()
    buffers = r.worker._store.present
    assert buffers is not None
    held = [buffers.pebble.claim(n) for n in range(3)]
    r.source.send(1)
    status = r.step()
    assert (status.updates.exhausted, status.updates.l1_exhausted, status.updates.match) == (1, 1, 0)
    for loan in held:
        loan.discard()
    r.source.send(2)
    assert r.step().updates.match == 1


def test_what_cannot_be_decoded_and_what_is_empty_is_counted(rig: Callable[..., MonitorRig]) -> None:
    r = rig()
    r.up()
    assert r.source.sink is not None
    r.source.sink.bad("SIM:CAM0: a codec from Mars")
    r.source.sink.empty()
    slot = r.source.sink.slot(64)
    assert slot is not None
    r.source.sink.abandon()
    status = r.step()
    assert (status.updates.updates, status.updates.decode_errors, status.updates.empty_updates) == (2, 1, 1)
    assert "from Mars" in status.message
    assert status.transition.in_use == 0


def test_unchanged_pixels_are_recorded_with_the_new_id_and_time(rig: Callable[..., MonitorRig]) -> None:
    r = rig()
    r.up()
    r.source.send(1)
    r.step()
    for n in range(2, 8):  # more than there are slots
        assert r.source.send_again(n)
        r.step()
        r.written(n)
    status = r.step()
    assert (status.updates.updates, status.updates.match, status.updates.missed, status.transition.in_use) == (
        7,
        7,
        0,
        0,
    )
    assert r.source.sink is not None
    assert r.source.sink.last() is not None
    r.ask("Disable", "EndRun", "Unconfigure")
    assert r.source.sink.last() is None
    for n in range(1, 8):
        frame = r.frame(n)
        np.testing.assert_array_equal(frame.data, r.source.pixels(1))
        assert (frame.head.frame_index, frame.head.timestamp_ns) == (n, 1000 * n)


@pytest.mark.parametrize("keys", ["", 'dtype = "float64"'])
def test_a_pv_that_is_not_as_specified_fails_configure(rig: Callable[..., MonitorRig], keys: str) -> None:
    r = rig(keys + '\nclient = "p4p"', specification="[7](double)" if not keys else "[7]")
    assert "expected [7] float64 as configured" in r.source.connect("float64", (6,))
    status = r.step(3)
    assert (status.run_state, status.state) == ("Unconfigured", "Failed")
    assert "Configure: SIM:CAM0: found [6] float64, expected [7] float64" in status.message
    assert r.source.connect("float64", (7,)) == ""
    r.worker.machine._aim_at_ns = 0
    assert r.step(3).run_state == "Enabled"


# --- timing


def test_events_and_updates_meet_in_either_order(rig: Callable[..., MonitorRig]) -> None:
    r = rig(timing=True)
    r.up()
    r.l1(1)
    assert r.step().updates.l1_pending == 1
    r.source.send(1)
    r.step()
    r.source.send(2)
    assert r.step().updates.held == 1
    r.l1(2)
    status = r.step()
    assert (status.updates.match, status.updates.l1_accepts, status.pulse_id) == (2, 2, 2)
    r.written(2)
    frame = r.frame(2)
    np.testing.assert_array_equal(frame.data, r.source.pixels(2))
    assert frame.head.daq_rec == 77


def test_the_outcomes_of_lcls_are_counted(rig: Callable[..., MonitorRig]) -> None:
    r = rig("match_tmo_ms = 60", timing=True)
    r.up()
    r.source.send(3)
    r.l1(1, 2, 3)  # two empty, one match
    status = r.step()
    assert (status.updates.empty, status.updates.match) == (2, 1)
    r.source.send(4)
    r.source.send(5)
    r.l1(6)  # two too old
    assert r.step().updates.too_old == 2
    deadline = time.monotonic() + 20
    while r.step().updates.timed_out == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    r.source.send(7)
    while r.step().updates.expired == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_time_difference_and_latency(rig: Callable[..., MonitorRig]) -> None:
    r = rig('match = "fuzzy"', timing=True)
    r.up()
    now = time.time_ns() // 1_000_000_000 * 1_000_000_000
    r.source.send(1, timestamp_ns=now)
    r.event(Service.L1_ACCEPT, 1, timestamp_ns=now + 4_194_304)
    status = r.step()
    assert (status.time_diff_ns, status.updates.match) == (4_194_304, 1)
    assert 0 < status.latency_us < 10_000_000


def test_garbage_gaps_and_overruns_of_the_timing_stream_are_counted(rig: Callable[..., MonitorRig]) -> None:
    r = rig(timing=True)
    r.up()
    r.ring.push(b"garbage")
    r.l1(1)
    r._counter += 3
    r.l1(2)
    r.l1(3, 4)  # the ring holds three
    status = r.step()
    assert (status.updates.timing_errors, status.updates.l1_missed, status.updates.l1_accepts) == (1, 3, 2)
    assert status.dma.overruns == 2
    assert (status.dma.count, status.dma.size_bytes) == (3, 65536)
    r.l1(5)
    assert r.step().updates.l1_missed == 5


def test_steps_of_a_scan_are_transitions_and_a_datagram_has_one_fate(rig: Callable[..., MonitorRig]) -> None:
    r = rig(timing=True)
    r.up()
    for service in (Service.DISABLE, Service.END_STEP, Service.BEGIN_STEP, Service.ENABLE):
        r.event(service)
        status = r.step()
    assert (status.updates.transitions, status.updates.transitions_refused, status.run_state) == (7, 0, "Enabled")
    r.l1(1)
    r.event(11)  # type: ignore[arg-type]  the one number without a meaning
    r.l1(2)
    updates = r.step().updates
    assert (updates.timing_errors, updates.l1_missed, updates.l1_accepts) == (1, 0, 2)


def test_events_wait_in_the_ring_when_there_are_as_many_as_slots(rig: Callable[..., MonitorRig]) -> None:
    r = rig(timing=True)
    r.up()
    for n in range(10):
        r.l1(n)
        r.step()
    status = r.status
    assert (status.updates.l1_pending, status.dma.in_use, status.dma.overruns) == (4, 3, 3)


# --- transitions


def test_the_timing_stream_drives_the_run_in_its_order(rig: Callable[..., MonitorRig]) -> None:
    r = rig(timing=True, state=RunState.UNCONFIGURED)
    r.source.connect()
    for service in (Service.CONFIGURE, Service.BEGIN_RUN, Service.ENABLE):
        r.event(service)
    assert r.step().run_state == "Enabled"
    r.l1(1)
    r.event(Service.SLOW_UPDATE)
    r.event(Service.DISABLE)
    assert r.step().run_state == "Enabled"  # the event before it has not met its update yet
    r.source.send(1)
    status = r.step()
    assert (status.run_state, status.updates.match, status.updates.transitions) == ("Running", 1, 5)
    r.l1(2)
    assert r.step().updates.l1_refused == 1
    for service in (Service.END_RUN, Service.UNCONFIGURE):
        r.event(service)
    status = r.step()
    assert (status.run_state, status.pebble.count, status.updates.transitions_refused) == ("Unconfigured", 0, 0)


def test_an_illegal_transition_changes_nothing(rig: Callable[..., MonitorRig]) -> None:
    r = rig(timing=True)
    r.up()
    before = r.status
    with pytest.raises(TransitionRefusedError, match="Configure refused: the run is Enabled; legal now: Disable"):
        r.ask("Configure")
    r.event(Service.END_RUN)
    status = r.step()
    assert (status.run_state, status.updates.transitions_refused) == ("Enabled", 2)
    assert "EndRun refused" in status.message
    assert status.pebble.count == before.pebble.count
    with pytest.raises(CommandError, match="expected one of Configure"):
        r.worker.ask("Explode")
    with pytest.raises(CommandError):
        r.worker.ask("L1Accept")


def test_configure_and_beginrun_can_be_repeated(rig: Callable[..., MonitorRig]) -> None:
    r = rig(state=RunState.UNCONFIGURED)
    r.source.connect()
    r.ask("Configure", "Configure", "BeginRun", "BeginRun", "Enable")
    r.source.send(1)
    assert r.step().updates.match == 1


def test_configure_without_the_pv_is_refused_and_succeeds_later(rig: Callable[..., MonitorRig]) -> None:
    r = rig(state=RunState.UNCONFIGURED)
    r.source.disconnect("SIM:CAM0: no server answered")
    with pytest.raises(HostError, match=r"has not connected within 0.05 s \(SIM:CAM0: no server answered\)"):
        r.ask("Configure")
    status = r.status
    assert (status.state, status.run_state) == ("Connecting", "Unconfigured")
    r.source.connect()
    assert r.ask("Configure").run_state == "Configured"


def test_a_declared_payload_is_configured_without_the_pv(rig: Callable[..., MonitorRig]) -> None:
    r = rig('dtype = "uint16"\nshape = [4, 8]', state=RunState.UNCONFIGURED)
    status = r.ask("Configure", "BeginRun", "Enable")
    assert (status.state, status.run_state, status.transition.size_bytes) == ("Connecting", "Enabled", 64)
    assert r.source.connect() == ""
    assert r.source.send(1)
    assert r.step().updates.match == 1


def test_a_pv_that_disagrees_with_the_configuration_is_refused(rig: Callable[..., MonitorRig]) -> None:
    r = rig('dtype = "uint16"\nshape = [4, 9]')
    assert "found [4, 8] uint16, expected [4, 9] uint16 as configured" in r.source.connect()
    assert not r.source.send(1)
    status = r.step()
    assert (status.state, status.run_state) == ("Failed", "Unconfigured")
    assert "expected [4, 9] uint16" in status.message
    with pytest.raises(ConfigError, match="expected \\[4, 9\\]"):
        r.ask("Configure")
    assert r.source.connect(shape=(36,)) == ""  # flat, but of that size
    assert r.ask("Configure").run_state == "Configured"


def test_unconfigure_frees_and_keeps_the_counts(rig: Callable[..., MonitorRig]) -> None:
    r = rig()
    r.up()
    r.source.send(1)
    r.step()
    status = r.ask("Disable", "EndRun", "Unconfigure")
    assert (status.run_state, status.state) == ("Unconfigured", "Idle")
    assert (status.pebble.count, status.pebble.acquires, status.disk.written, status.updates.placed) == (0, 1, 1, 1)
    assert not r.worker._runtime.shm(r.worker.name).exists()
    r.ask("Configure", "BeginRun", "Enable")
    r.source.send(2)
    r.step()
    assert r.written(2).disk.offered == 2


def test_a_cancelled_command_is_not_carried_out(rig: Callable[..., MonitorRig]) -> None:
    r = rig(timing=True)
    r.up()
    r.l1(1)
    disable, slow = r.worker.ask("Disable"), r.worker.ask("SlowUpdate")
    r.step()
    assert disable.cancel()  # its turn has not come: the event waits for its update
    r.source.send(1)
    status = r.step()
    assert (status.run_state, slow.result(0), status.updates.transitions_refused) == ("Enabled", "Enabled", 0)


def test_a_configure_that_waits_for_its_pv_can_be_cancelled_and_holds_up_nothing(
    rig: Callable[..., MonitorRig],
) -> None:
    r = rig(connect_timeout_s=600, state=RunState.UNCONFIGURED)
    configure = r.worker.ask("Configure")
    assert r.step().state == "Configuring"
    begin = r.worker.ask("BeginRun")
    r.step()
    assert configure.cancel()
    r.source.connect()
    status = r.step()
    assert (status.run_state, status.state, status.pebble.count) == ("Unconfigured", "Idle", 0)
    with pytest.raises(TransitionRefusedError, match="BeginRun refused"):
        begin.result(0)


def test_a_configure_at_work_is_shown(rig: Callable[..., MonitorRig]) -> None:
    r = rig(state=RunState.UNCONFIGURED)
    r.source.connect()
    build, shown = r.worker._store.build, list[str]()

    def watched(*plan: Any) -> Any:
        shown.append(r.worker.snapshot().state)
        return build(*plan)

    r.worker._store.build = watched  # type: ignore[method-assign]
    configure = r.worker.ask("Configure")
    assert r.status.state == "Configuring"  # as the runtime publishes it, before the step that takes a while
    assert r.step().state == "Idle"
    assert (shown, configure.result(0)) == (["Configuring"], "Configured")


def test_the_aim_follows_a_command_down(rig: Callable[..., MonitorRig]) -> None:
    r = rig()
    r.up()
    r.ask("Disable")
    r.worker.machine._aim_at_ns = 0
    assert r.step(3).run_state == "Running"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_pulses_made_here_go_on_above_those_on_disk(
    rig: Callable[..., MonitorRig], tmp_path: Path, elsewhere: bool
) -> None:
    r = rig()
    r.up()
    for count, n in enumerate((1, 2, 3, 4, 5, 1, 2, 3), 1):
        r.source.send(n)
        r.step()
        r.written(count)
    assert r.status.pulse_id == 8
    r.worker.finish(time.monotonic() + 5)
    (tmp_path / "DET-CAM").rename(tmp_path / "elsewhere" if elsewhere else tmp_path / "DET-CAM")
    again = rig()
    again.up()
    if elsewhere:  # the folder that is moved to during the run holds them
        (tmp_path / "full").mkdir()
        (tmp_path / "elsewhere").rename(tmp_path / "full" / "DET-CAM")
        moved = again.worker._store.set_folder(str(tmp_path / "full"))
        assert moved is not None
        moved.result(20)
    for count, n in enumerate((4, 5, 6, 7, 8), 1):
        again.source.send(n)
        again.step()
        again.written(count)
    assert again.status.pulse_id == 13
    folder = "full/DET-CAM" if elsewhere else "DET-CAM"
    assert [again.frame(pulse, folder).head.frame_index for pulse in range(1, 14)] == [
        *range(1, 6),
        *range(1, 4),
        *range(4, 9),
    ]


def test_a_folder_without_room_for_pulses_is_refused(rig: Callable[..., MonitorRig], tmp_path: Path) -> None:
    r = rig()
    r.up()
    r.source.send(1)
    r.step()
    r.written(1)
    r.worker.finish(time.monotonic() + 5)
    data = tmp_path / "DET-CAM" / "M00" / "0"
    far = 5 * 10**18
    (data.parent / str(far)).mkdir()
    (data / "0.bin").rename(data.parent / str(far) / f"{far}.bin")
    again = rig()
    again.source.connect()
    assert "no pulse ids are left above it" in again.step(3).message
    assert again.status.run_state == "Unconfigured"


# --- outputs


def test_outputs_are_switched_and_stay_so(rig: Callable[..., MonitorRig], tmp_path: Path) -> None:
    r = rig()
    r.worker._store.set_output("disk", enabled=False)
    assert r.status.disk.enabled is False
    r.up()
    r.source.send(1)
    status = r.step()
    assert (status.disk.disabled, status.disk.enabled, status.zmq.enabled) == (1, False, True)
    r.worker._store.set_output("disk", enabled=True)
    moved = r.worker._store.set_folder(str(tmp_path / "other"))
    assert moved is not None
    moved.result(20)
    r.source.send(2)
    r.step()
    r.written(1)
    assert r.status.disk.folder == str(tmp_path / "other" / "DET-CAM")
    assert (tmp_path / "other" / "DET-CAM" / "M00" / "0" / "0.bin").exists()
    with pytest.raises(CommandError, match="expected one of disk, zmq"):
        r.worker._store.set_output("tape", enabled=True)
    for outside in ("relative", "/etc"):
        refused = r.worker._store.set_folder(outside)
        assert refused is not None
        with pytest.raises(CommandError, match=r"expected an absolute path|expected a place below the roots"):
            refused.result(20)


def test_a_folder_outside_the_roots_is_refused_without_buffers(rig: Callable[..., MonitorRig]) -> None:
    with pytest.raises(CommandError, match="expected a place below the roots"):
        rig().worker._store.set_folder("/etc")


# --- payloads that change


def meanwhile(r: MonitorRig, action: Callable[[], Any]) -> Any:
    """Return what ``action`` returns, which a source does on its thread while the event thread goes on."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(action()))
    thread.start()
    deadline = time.monotonic() + 20
    while thread.is_alive():
        assert time.monotonic() < deadline
        r.step()
    return results[0]


def test_another_payload_is_planned_anew_and_no_image_is_lost(rig: Callable[..., MonitorRig]) -> None:
    r = rig()
    r.up()
    r.source.send(1)  # staged, not yet taken

    def come_back() -> list[Any]:
        r.source.disconnect()
        return [r.source.connect("uint8", (2, 3, 5)), r.source.send(2), r.source.send(3)]

    old = r.source.pixels(1)
    assert meanwhile(r, come_back) == ["", True, True]
    status = r.step()
    assert (status.updates.match, status.shape, status.payload_bytes) == (3, "2 x 3 x 5", 30)
    assert (status.transition.size_bytes, status.run_state, status.state) == (30, "Enabled", "Receiving")
    r.written(3)
    np.testing.assert_array_equal(r.frame(1).data, old)
    assert r.status.disk.folder.endswith("DET-CAM-uint8-2x3x5")
    np.testing.assert_array_equal(r.frame(3, "DET-CAM-uint8-2x3x5").data, r.source.pixels(3))
    # and back: the first folder is used again
    assert meanwhile(r, lambda: [r.source.connect("uint16", (4, 8)), r.source.send(4)]) == ["", True]
    r.step()
    r.written(4)
    np.testing.assert_array_equal(r.frame(4).data, r.source.pixels(4))


def test_another_payload_pauses_where_that_is_wanted(rig: Callable[..., MonitorRig]) -> None:
    r = rig('on_payload_change = "pause"')
    r.up()
    assert meanwhile(r, lambda: [r.source.connect("uint8", (2, 2)), r.source.send(1)]) == ["", False]
    status = r.step()
    assert "the payload changed" in status.message
    assert (status.updates.discarded_disabled, status.run_state) == (1, "Enabled")
    assert r.source.connect("uint16", (4, 8)) == ""
    r.step()
    assert r.source.send(2)
    assert r.step().state == "Receiving"
    meanwhile(r, lambda: r.source.connect("uint8", (2, 2)))
    assert r.status.state == "Paused"
    r.ask("Disable", "EndRun", "Configure", "BeginRun", "Enable")
    assert r.source.send(3)
    assert r.step().updates.match == 2


def test_a_payload_that_cannot_be_planned_pauses_until_it_changes(rig: Callable[..., MonitorRig]) -> None:
    r = rig()
    r.up()
    meanwhile(r, lambda: r.source.connect("uint16", (1000, 1000)))  # more than the DMA ring holds
    assert r.status.state == "Paused"
    assert "the DMA engine would overrun" in r.status.message
    assert not r.source.send(1)
    r.step()
    assert meanwhile(r, lambda: [r.source.connect("uint16", (5, 5)), r.source.send(2)]) == ["", True]
    status = r.step()
    assert (status.state, status.updates.match) == ("Receiving", 1)


def test_a_payload_that_changes_while_another_pv_is_away_is_planned_when_that_returns(
    rig: Callable[..., MonitorRig],
) -> None:
    r = rig(pvs=2)
    r.up()
    r.sources[1].disconnect()
    meanwhile(r, lambda: r.sources[0].connect("uint8", (2, 2)))
    assert (r.status.state, "F1: has not connected" in r.status.message) == ("Paused", True)
    assert r.sources[1].connect() == ""
    status = r.step()
    assert (status.payload_bytes, status.updates.replans) == (4 + 64, 1)
    assert [source.send(1) for source in r.sources] == [True, True]
    status = r.step()
    assert (status.state, status.updates.placed) == ("Receiving", 1)


def test_a_payload_larger_than_a_slot_given_by_hand_is_truncated(rig: Callable[..., MonitorRig]) -> None:
    r = rig(top='[pools]\npebbleBufSize = "12 KiB"')
    r.up()
    assert meanwhile(r, lambda: [r.source.connect("uint16", (200, 100)), r.source.send(1)]) == ["", True]
    status = r.step()
    assert (status.updates.truncated, status.updates.match, status.transition.size_bytes) == (1, 1, 40_000)
    r.written(1)
    np.testing.assert_array_equal(r.frame(1).data.ravel(), r.source.pixels(1).ravel()[:32])


def test_sizes_against_the_rules_are_refused_at_configure(rig: Callable[..., MonitorRig]) -> None:
    r = rig(sources=[FakeSource("uint16", (1000, 1000))], state=RunState.UNCONFIGURED)
    r.source.connect()
    with pytest.raises(SizingError, match="DMA engine would overrun"):
        r.ask("Configure")
    assert r.status.state == "Failed"


def test_a_source_that_waits_for_a_decision_does_not_hold_up_the_end(rig: Callable[..., MonitorRig]) -> None:
    r = rig()
    r.up()
    thread = threading.Thread(target=r.source.connect, args=("uint8", (2, 2)))
    thread.start()
    r.worker.finish(time.monotonic() + 5)
    thread.join(20)
    assert not thread.is_alive()


def test_a_held_source_gets_slots_while_disabled_and_they_are_counted(rig: Callable[..., MonitorRig]) -> None:
    r = rig('when_full = "hold"', state=RunState.UNCONFIGURED)
    r.source.connect()
    assert r.source.sink is not None
    assert r.source.sink.slot(64) is None
    r.ask("Configure")
    assert r.source.send(1)
    assert r.status.updates.discarded_disabled == 1


def test_a_run_that_is_led_down_when_the_payload_changes_makes_no_buffers(rig: Callable[..., MonitorRig]) -> None:
    r = rig(timing=True)
    r.up()
    r.l1(1)
    r.step()
    answers = [r.worker.ask(service) for service in ("Disable", "EndRun", "Unconfigure")]
    r.step()  # they wait behind the event
    r.source.send(1)  # which settles it, just before the camera comes back with another payload
    meanwhile(r, lambda: r.source.connect("uint8", (2, 2)))
    status = r.step()
    assert [answer.result(0) for answer in answers] == ["Running", "Configured", "Unconfigured"]
    assert (status.run_state, status.pebble.count, status.updates.match) == ("Unconfigured", 0, 1)
    assert not r.worker._runtime.shm(r.worker.name).exists()
    assert r.ask("Configure", "BeginRun", "Enable").payload_bytes == 4


def test_an_image_held_back_from_before_the_run_is_not_its_first(rig: Callable[..., MonitorRig]) -> None:
    r = rig('when_full = "hold"', state=RunState.UNCONFIGURED)
    r.source.connect()
    assert r.source.sink is not None
    assert r.source.sink.slot(64) is None  # held back: asked again for the same image
    r.ask("Configure", "BeginRun", "Enable")
    assert r.source.send(1)
    assert r.source.send(2)
    status = r.step()
    assert (status.updates.discarded_disabled, status.updates.match, status.pulse_id) == (1, 1, 2)


# --- several PVs


def test_several_pvs_make_one_event(rig: Callable[..., MonitorRig]) -> None:
    sources = [FakeSource("uint16", (2, 3)), FakeSource("uint8", (5,)), FakeSource("float64", ())]
    r = rig(timing=True, pvs=3, sources=sources)
    assert r.up().payload_bytes == 12 + 5 + 8
    r.l1(1)
    for source in sources:
        source.send(1)
    status = r.step()
    assert (status.updates.match, status.updates.placed, status.updates.partial) == (3, 1, 0)
    r.written(1)
    frame = r.frame(1)
    expected = b"".join(s.pixels(1).tobytes() for s in sources)
    assert (frame.data.tobytes(), frame.head.n_recv_packets) == (expected, 3)
    # one that lacks leaves its place empty, and says so
    r.l1(2)
    sources[0].send(2)
    sources[1].send(3)
    sources[2].send(2)
    status = r.step()
    assert (status.updates.placed, status.updates.partial) == (2, 1)
    r.written(2)
    frame = r.frame(2)
    expected = sources[0].pixels(2).tobytes() + bytes(5) + sources[2].pixels(2).tobytes()
    assert (frame.data.tobytes(), frame.head.n_recv_packets) == (expected, 2)
    np.testing.assert_array_equal(frame.field("F0"), sources[0].pixels(2))
    np.testing.assert_array_equal(frame.field("F2"), sources[2].pixels(2))
    np.testing.assert_array_equal(r.frame(1).field("F1"), sources[1].pixels(1))


def test_every_pv_has_its_own_difference_and_latency(rig: Callable[..., MonitorRig]) -> None:
    r = rig('match = "fuzzy"', timing=True, pvs=3)
    r.up()
    event = time.time_ns()
    r.event(Service.L1_ACCEPT, 1, timestamp_ns=event)
    r.sources[0].send(1, timestamp_ns=event - 1000)
    r.sources[1].send(7, timestamp_ns=event + 5000)
    r.sources[2].send(9, timestamp_ns=event + 1_000_000_000)  # of a later event
    r.sources[1].name = "other"
    status = r.step()
    assert [status.pvs[n].time_diff_ns for n in "012"] == [1000, -5000, 0]
    assert (status.time_diff_ns, status.updates.partial) == (-5000, 1)
    assert [status.pvs[n].unique_id for n in "012"] == [1, 7, 9]
    assert status.pvs["2"].latency_us < 0 < status.pvs["0"].latency_us
    assert status.latency_us == max(pv.latency_us for pv in status.pvs.values())
    assert (status.client, status.pvs["1"].client, status.pvs["0"].client) == ("fake, other", "other", "fake")
    assert [(pv.name, pv.pv) for pv in status.pvs.values()] == [(f"F{n}", f"F{n}=SIM:CAM{n}") for n in range(3)]
    r.sources[2].disconnect("SIM:CAM2: gone")
    assert [pv.connected for pv in r.status.pvs.values()] == [True, True, False]
    assert r.status.pvs["2"].message == "SIM:CAM2: gone"


def test_arrays_of_one_total_shape_do_not_share_a_folder(rig: Callable[..., MonitorRig]) -> None:
    r = rig(pvs=2, sources=[FakeSource("uint16", (6,)), FakeSource("uint16", (2,))])
    r.up()

    def send(n: int) -> bool:
        return [source.send(n) for source in r.sources] == [True, True]

    assert send(1)
    r.step()
    r.written(1)
    folders = [r.status.disk.folder]
    for n, shapes in ((2, ((2,), (6,))), (3, ((4,), (4, 1)))):
        for source, shape in zip(r.sources, shapes, strict=True):
            meanwhile(r, lambda source=source, shape=shape: source.connect("uint16", shape))
        assert send(n)
        r.step()
        r.written(n)
        folders.append(r.status.disk.folder)
        frame = r.frame(n, Path(folders[-1]).name)
        np.testing.assert_array_equal(frame.field("F1"), r.sources[1].pixels(n))
    assert len(set(folders)) == 3


@pytest.mark.parametrize(("pvs", "expected"), [(1, {"Gain": 3}), (2, {"F0.Gain": 3, "F1.Gain": 4})])
def test_attributes_stay_with_the_event(rig: Callable[..., MonitorRig], pvs: int, expected: dict[str, int]) -> None:
    r = rig(pvs=pvs)
    r.up()
    buffers = r.worker._store.present
    assert buffers is not None
    seen: list[Any] = []

    class Spy:
        def offer(self, lease: Any) -> None:
            seen.append(dict(lease.attributes))
            r_offer(lease)

        def __getattr__(self, name: str) -> Any:
            return getattr(outputs, name)

    outputs, r_offer = buffers.outputs, buffers.outputs.offer
    buffers.outputs = Spy()  # type: ignore[assignment]
    for number, source in enumerate(r.sources):
        source.send(1, attributes={"Gain": 3 + number})
    r.step()
    assert seen == [expected]


def test_a_bad_image_is_forgotten_after_a_good_one(rig: Callable[..., MonitorRig]) -> None:
    r = rig()
    r.up()
    assert r.source.sink is not None
    r.source.sink.bad("SIM:CAM0: torn")
    assert "torn" in r.status.message
    r.source.send(1)
    assert r.step().message == ""


def test_several_pvs_run_free_after_the_first(rig: Callable[..., MonitorRig]) -> None:
    r = rig(pvs=2)
    r.up()
    r.sources[0].send(1)
    r.sources[1].send(1)
    r.sources[1].send(2)
    r.sources[0].send(2)
    status = r.step()
    assert (status.updates.placed, status.updates.match, status.updates.l1_accepts) == (2, 4, 2)


# --- the balance, whatever happens


actions = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 1), st.integers(0, 12)),
        st.tuples(st.just("l1"), st.integers(0, 12), st.just(0)),
        st.tuples(
            st.just("ask"), st.sampled_from([s.label for s in Service if s is not Service.L1_ACCEPT]), st.just(0)
        ),
        st.tuples(st.just("event"), st.sampled_from(list(Service)), st.just(0)),
        st.tuples(st.sampled_from(["step", "bad", "empty", "drop", "connect"]), st.integers(0, 1), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=25, deadline=None)
@given(st.booleans(), st.sampled_from(["exact", "none"]), actions)
def test_the_balance_holds_at_every_moment(timing: bool, mode: str, script: list[tuple[Any, Any, Any]]) -> None:

    with (
        tempfile.TemporaryDirectory(prefix="pd", dir="/tmp") as folder,
        ExitStack() as stack,
        pytest.MonkeyPatch.context() as m,
    ):
        m.setenv("XDG_RUNTIME_DIR", folder)
        text = f"""
        [detector]
        name = "DET"
        prefix = "T:BAL:"
        {f"[timing]{chr(10)}port = {free_ports(1)[0]}" if timing else ""}
        [dma]
        cfgRxCount = 3
        cfgSize = "4 KiB"
        [[pva]]
        name = "CAM"
        pv = ["A=SIM:A", "B=SIM:B"]
        match = "{mode}"
        match_tmo_ms = 5
        connect_timeout_s = 0.001
        [zmq]
        enabled = true
        """
        r = MonitorRig(parse_config(text), RunState.ENABLED, [FakeSource(), FakeSource()], stack)
        r.up()
        for kind, what, n in script:
            if kind == "send":
                r.sources[what].send(n)
            elif kind == "l1" and timing:
                r.l1(what)
            elif kind == "ask":
                r.worker.ask(what)
            elif kind == "event" and timing:
                r.event(what)
            elif kind == "bad":
                r.sources[what].sink.bad("bad")  # type: ignore[union-attr]
            elif kind == "empty":
                r.sources[what].sink.empty()  # type: ignore[union-attr]
            elif kind == "drop":
                r.sources[what].disconnect()
            elif kind == "connect":
                r.sources[what].connect()
            else:
                r.worker.step()
            assert r.status
        r.worker.finish(time.monotonic() + 5)
        status = r.status
        assert (status.updates.held, status.updates.l1_pending) == (0, 0)
        assert (status.pebble.in_use, status.transition.in_use) == (0, 0)


def killed(rig: MonitorRig) -> Path:
    """Return a copy of a monitor's counters page as a kill at this moment leaves it."""
    page = rig.worker._runtime.counters(rig.worker.name)
    left = page.rename(page.with_name("killed"))
    copy = left.read_bytes()
    rig.worker.finish(time.monotonic() + 5)
    left.write_bytes(copy)
    return left


def test_what_was_sent_while_the_monitor_was_down_is_missed(rig: Callable[..., MonitorRig]) -> None:
    r = rig()
    r.up()
    for n in range(10, 15):
        assert r.source.send(n)
        r.step()
    before = r.status.updates
    assert (before.updates, before.placed) == (5, 5)
    r = rig(page=killed(r))
    assert r.up().updates.updates == 0  # in this life
    assert r.source.send(20)
    totals = counters(r.account.enter(r.step()))
    assert (totals["updates.updates"], totals["updates.missed"], totals["updates.placed"]) == (6, 5, 6)
    assert totals["disk.offered"] == totals["zmq.offered"] == 6


def test_pulses_go_on_above_those_of_a_killed_monitor_that_wrote_nothing(rig: Callable[..., MonitorRig]) -> None:
    r = rig()
    r.worker._store.set_output("disk", enabled=False)
    r.up()
    for n in (5, 6, 7):
        r.source.send(n)
        r.step()
    r = rig(page=killed(r))
    r.worker._store.set_output("disk", enabled=False)
    r.up()
    pulses: list[int] = []
    for n in (1, 2):  # the camera began afresh
        r.source.send(n)
        pulses.append(r.step().pulse_id)
    assert pulses == [8, 9]


def test_a_page_holds_the_largest_numbers_of_a_timing_system(rig: Callable[..., MonitorRig]) -> None:
    r = rig(timing=True)
    r.up()
    r._counter = 2**64 - 2
    r.event(Service.L1_ACCEPT, 2**64 - 1, timestamp_ns=1000)
    r.source.send(1)
    assert r.step().updates.placed == 1
    r = rig(timing=True, page=killed(r))
    assert r.up().pulse_id == 2**64 - 1


def test_updates_and_events_that_waited_when_the_monitor_was_killed_are_abandoned(
    rig: Callable[..., MonitorRig],
) -> None:
    r = rig(timing=True)
    r.up()
    r.event(Service.L1_ACCEPT, 1)
    r.step()
    r.source.send(2)
    r.step()
    waiting = r.status.updates
    assert (waiting.held, waiting.l1_pending) in {(1, 0), (1, 1), (0, 1)}
    r = rig(timing=True, page=killed(r))
    totals = r.account.show(r.status)
    assert {line: rest for line, rest in balance(totals).items() if rest} == {}
    assert (totals.updates.abandoned, totals.updates.l1_abandoned) == (waiting.held, waiting.l1_pending)


def test_no_output_writes_what_the_page_does_not_have(rig: Callable[..., MonitorRig]) -> None:
    """A kill right when the outputs get an event."""
    r = rig()
    r.up()
    pages: list[Any] = []
    outputs = r.worker._store.present
    assert outputs is not None
    offer = outputs.outputs.offer

    def look(lease: Any) -> None:
        pages.append(read_page(r.worker._runtime.counters(r.worker.name)))
        offer(lease)

    object.__setattr__(
        outputs, "outputs", SimpleNamespace(offer=look, close=outputs.outputs.close, stats=outputs.outputs.stats)
    )
    r.source.send(10)
    r.step()
    assert [page["data"]["updates.placed"] for page in pages] == [1]
