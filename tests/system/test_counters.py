"""Totals survive whatever ends a worker: what was sent is what was counted, to the packet."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from detectors.buffer.reader import BufferReader
from detectors.stats import ReceiverStatus
from sim.clock import Schedule
from sim.udp_module import UdpModuleSender
from tests.support.balance import imbalance
from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import prefix_of
from tests.support.ports import free_ports
from tests.support.waiting import until
from tests.system.test_receive import GEOMETRY, MODULE, STEP, Receiver, write_config

pytestmark = pytest.mark.usefixtures("runtime_dir")

PACKETS = GEOMETRY.packets_per_frame
RATE_HZ = 20.0
"""Of frames: 640 packets/s, evenly spread, so that a kill finds a frame open."""


class Sending:
    """A detector that sends frame after frame, packet by packet, until it is stopped."""

    def __init__(self, port: int) -> None:
        schedule = Schedule.at_rate(RATE_HZ, first_pulse=1000, pulse_step=STEP)
        self._sender = UdpModuleSender(("127.0.0.1", port), GEOMETRY, schedule, module_id=MODULE, burst=1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        frame = 0
        while not self._stop.is_set():
            self._sender.schedule = Schedule(time.time_ns(), round(1e9 / RATE_HZ), 1000 + frame * STEP, STEP)
            self._sender.first_frame = 1 + frame
            self._sender.send_frame(0, self._stop)  # type: ignore[arg-type]  paced
            frame += 1
            due += 1 / RATE_HZ
            time.sleep(max(0.0, due - time.monotonic()))

    def end(self) -> int:
        """Stop, and return how many packets were sent."""
        self._stop.set()
        self._thread.join()
        self._sender.close()
        return self._sender.report.packets


@contextmanager
def receiver(config: Path, port: int) -> Iterator[Receiver]:
    with Receiver(config, port) as one:
        one.wait_for(r"^READY udp\.M00")
        yield one


def test_kill_after_kill_everything_sent_is_counted(tmp_path: Path):
    (port,), kills = free_ports(1), random.Random(11)
    config = write_config(tmp_path, port=port)
    before: dict[str, Any] = {}
    with ExitStack() as stack:
        one = stack.enter_context(receiver(config, port))
        sending = Sending(port)
        one.until(lambda s: s["frames"]["delivered"] > 10)
        for _ in range(3):
            time.sleep(kills.uniform(0.2, 0.6))
            before = one.status()
            one.end(signal.SIGKILL)
            time.sleep(kills.uniform(0, 0.4))
            one = stack.enter_context(receiver(config, port))
            after = one.status()
            fallen = {
                f"{group}.{name}": (value, after[group][name])
                for group in ("packets", "frames", "disk", "zmq", "pebble")
                for name, value in before[group].items()
                if name in COUNTED and after[group][name] < value
            }
            assert fallen == {}
            assert imbalance(ReceiverStatus, after) == {}
            delivered = after["frames"]["delivered"]
            one.until(lambda s, n=delivered: s["frames"]["delivered"] > n + 5)
        sent = sending.end()
        status = one.until(lambda s: s["packets"]["placed"] + s["packets"]["lost"] == sent and not s["disk"]["queued"])
        one.end()
    packets, frames, disk = status["packets"], status["frames"], status["disk"]
    assert packets["expected"] == sent
    assert frames["complete"] + frames["incomplete"] + frames["empty"] == sent // PACKETS
    assert frames["outages"] == 0
    assert imbalance(ReceiverStatus, status) == {}
    assert disk["offered"] == frames["delivered"] == disk["written"] + disk["dropped"]
    assert records(tmp_path) >= disk["written"]


COUNTED = (
    "received",
    "placed",
    "expected",
    "lost",
    "complete",
    "incomplete",
    "delivered",
    "offered",
    "written",
    "acquires",
)


def records(folder: Path) -> int:
    """Return how many frames lie on disk."""
    return sum(1 for _ in BufferReader(folder / "data" / "JFT", "M00").frames(1, 10**6))


@pytest.mark.long
def test_what_is_sent_while_nobody_listens_is_counted_or_an_outage(tmp_path: Path):
    (port,) = free_ports(1)
    config = write_config(tmp_path, port=port)

    def send(first_frame: int, first_pulse: int, frames: int = 5) -> None:
        schedule = Schedule(0, 0, first_pulse, STEP)
        sender = UdpModuleSender(("127.0.0.1", port), GEOMETRY, schedule, module_id=MODULE, first_frame=first_frame)
        for n in range(frames):
            sender.send_frame(n)
        sender.close()

    with receiver(config, port) as one:
        send(1, 1000)
        one.settled(5 * PACKETS, complete=5)
        one.end(signal.SIGKILL)
    with receiver(config, port) as one:
        sent_s = time.monotonic()
        send(1006, 1000 + 1005 * STEP)
        s = one.settled(10 * PACKETS, complete=10)
        assert (s["frames"]["empty"], s["packets"]["lost"], s["frames"]["outages"]) == (1000, 1000 * PACKETS, 0)
        one.end(signal.SIGTERM)
    time.sleep(1.0)
    with receiver(config, port) as one:
        send(1, 50_000)
        s = one.settled(15 * PACKETS, complete=15)
        assert (s["frames"]["empty"], s["packets"]["lost"], s["frames"]["outages"]) == (1000, 1000 * PACKETS, 1)
        assert 1.0 < s["frames"]["outage_s"] < time.monotonic() - sent_s


@pytest.mark.long
def test_reset_is_the_only_way_down(tmp_path: Path):
    (port,) = free_ports(1)
    config = write_config(tmp_path, port=port)
    with receiver(config, port) as one:
        since = one.status()["counted_since"]
        sending = Sending(port)
        one.until(lambda s: s["frames"]["delivered"] > 10)
        before = one.until(lambda s: s["frames"]["complete"] > 30)
        one.ask("reset_counters")
        status = one.status()
        assert status["frames"]["complete"] < before["frames"]["complete"]
        assert status["counted_since"] > since
        one.until(lambda s: s["frames"]["complete"] > 10)
        sending.end()
        status = until(one.status, lambda s: not s["disk"]["queued"] and not imbalance(ReceiverStatus, s))
        assert status["disk"]["written"] == status["frames"]["delivered"]
        one.ask("reset_counters")
        status = one.status()
        counts = [v for group in ("packets", "frames") for v in status[group].values()]
        assert set(counts) == {0}
        assert not any(status["disk"][name] for name in ("offered", "written", "dropped", "disabled", "bytes"))
        since = status["counted_since"]
        one.end(signal.SIGKILL)
    with receiver(config, port) as one:
        assert (one.status()["frames"]["complete"], one.status()["counted_since"]) == (0, since)


def test_a_damaged_page_is_said_and_counted(tmp_path: Path, counters_folder: Path):
    (port,) = free_ports(1)
    config = write_config(tmp_path, port=port)
    with receiver(config, port) as one:
        one.end(signal.SIGKILL)
    (page,) = counters_folder.iterdir()
    page.write_bytes(b"damaged")
    with receiver(config, port) as one:
        assert one.status()["totals_lost"] == 1
        assert f"{page}: the counters page is damaged" in one.text
        assert "all totals begin at 0 again" in one.text


def shown(ioc: IocProcess, name: str) -> int:
    return int(ioc.value(f"M00:{name}_RBV"))


@pytest.mark.alone
@pytest.mark.long
def test_totals_survive_the_ioc_the_receiver_and_both(tmp_path: Path, stack):
    """Kills of the IOC, of the receiver and of both while it receives: the PVs never fall, and count what was sent."""
    (port,) = free_ports(1)
    config = write_config(tmp_path, port=port)
    ioc = stack.enter_context(IocProcess(prefix_of(config), "-m", "ioc", "run", str(config)))
    ioc.until("M00:State_RBV", "Idle")
    sending = Sending(port)
    for victims in ("receiver", "ioc", "both"):
        ioc.until("M00:State_RBV", "Receiving")
        time.sleep(1.0)
        before = {name: shown(ioc, name) for name in ("FramesComplete", "PacketsLost", "PacketsExpected")}
        if victims != "ioc":
            os.kill(ioc.value("M00:Pid_RBV"), signal.SIGKILL)
        if victims != "receiver":
            ioc.stop(signal.SIGKILL)
            ioc = stack.enter_context(IocProcess(prefix_of(config), "-m", "ioc", "run", str(config)))
            if victims == "ioc":
                assert ioc.value("M00:Adopted_RBV") == "Yes"
                assert shown(ioc, "PacketsLostRecently") == 0
        else:
            ioc.until("M00:PacketsLost_RBV", lambda n, least=before["PacketsLost"]: n > least)
        after = {name: shown(ioc, name) for name in before}
        assert all(after[name] >= value for name, value in before.items()), (victims, before, after)
        # Of the new life: what was sent before it heard anything is known by what comes after that.
        ioc.until("M00:FramesComplete_RBV", lambda n, least=after["FramesComplete"]: n > least + 5)
    sent = sending.end()
    ioc.until("M00:PacketsExpected_RBV", sent)
    fallen = {name: value for name, value in after.items() if shown(ioc, name) < value}
    assert fallen == {}
    assert shown(ioc, "PacketsPlaced") + shown(ioc, "PacketsLost") == sent
    whole = shown(ioc, "FramesComplete") + shown(ioc, "FramesIncomplete") + shown(ioc, "FramesEmpty")
    assert whole == sent // PACKETS
    assert shown(ioc, "FramesAbandoned") <= 2
    ioc.put("M00:Run", 0)
    ioc.until("M00:State_RBV", "Off")
    assert shown(ioc, "PacketsExpected") == sent
    since = ioc.value("M00:ResetTime_RBV")
    time.sleep(1)
    ioc.put("ResetCounters", 1)
    ioc.until("M00:PacketsExpected_RBV", 0)
    ioc.until("M00:ResetTime_RBV", lambda text: text > since)
    assert ioc.stop() == 0
