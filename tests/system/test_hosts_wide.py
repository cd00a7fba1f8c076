"""32 modules on four hosts, each a set of namespaces: one image stream, one IOC wherever it runs, one data set, and hosts that die."""

import os
import re
import time
from collections.abc import Iterator

import h5py
import pytest

from detectors.buffer.folder_lease import LEASE, STALE_S
from detectors.stats import ReceiverStatus
from sim.hosts.image_console import right_modules
from sim.hosts.namespaces import why_no_hosts
from sim.hosts.wide import HOSTS, MODULES, PACKETS, SHAPE, host_of, modules_of
from sim.hosts.wide_rig import CONTROL, FAR, WideRig
from tests.support.balance import imbalance
from tests.support.process import run

pytestmark = [pytest.mark.alone, pytest.mark.long, pytest.mark.skipif(bool(why_no_hosts()), reason=why_no_hosts())]

ALL = list(range(len(MODULES)))
*ALIVE, DEAD = HOSTS
"""The last host dies in the course of the tests."""
LIVING = [number for number, module in enumerate(MODULES) if host_of(module) != DEAD]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WideRig]:
    """All tests have this one, each as the one before has left it."""
    with WideRig(tmp_path_factory.mktemp("wide")) as made:
        yield made


def test_every_frame_is_on_the_disk_of_the_host_that_received_it(rig: WideRig) -> None:
    rig.send(30)
    rig.wait_sent()
    for host in HOSTS:
        for status in rig.until_written(host, lambda written: written == len(rig.pulses)).values():
            assert imbalance(ReceiverStatus, status) == {}


def test_one_stream_has_the_modules_of_all_hosts(rig: WideRig) -> None:
    images = rig.images()
    assert list(images) == rig.pulses
    assert all(image == (True, ALL) for image in images.values())


def test_an_ioc_adopts_the_workers_of_all_hosts_and_after_its_death_another_one_elsewhere_does(rig: WideRig) -> None:
    rig.start_ioc(CONTROL)
    rig.until_all("Adopted_RBV", lambda adopted: adopted == "Yes")
    rig.until_all("Disk:Written_RBV", lambda written: written == len(rig.pulses))
    rig.put("Acquire", 0)
    rig.until_all("RunState_RBV", lambda state: state == "Configured")
    rig.hosts[CONTROL].kill()
    rig.start_ioc(FAR)
    rig.until_all("Adopted_RBV", lambda adopted: adopted == "Yes")
    assert set(rig.values(*(f"{module}:RunState_RBV" for module in MODULES)).values()) == {"Configured"}
    assert rig.values("Stream:Adopted_RBV") == {"Stream:Adopted_RBV": "Yes"}


def test_control_works_and_counts_are_right_over_a_link_with_delay_and_loss(rig: WideRig) -> None:
    rig.send(5, refused=True)
    rig.wait_sent()
    rig.until_all("PacketsDisabled_RBV", lambda packets: packets == 5 * PACKETS)
    rig.put("Acquire", 1)
    rig.until_all("RunState_RBV", lambda state: state == "Enabled")
    rig.put("M31:Disk:On", 0)
    rig.until_all("Disk:On_RBV", lambda on: on == "Off", ["M31"])
    assert rig.status(DEAD)["M31"]["disk"]["enabled"] is False
    rig.put("M31:Disk:On", 1)
    rig.until_all("Disk:On_RBV", lambda on: on == "On")
    rig.send(20)
    rig.wait_sent()
    rig.until_all("Disk:Written_RBV", lambda written: written == len(rig.pulses))
    link = rig.hosts[FAR].link
    assert link is not None
    assert all(counts["lost"] > 0 for counts in link.ask("counts").values())


def test_a_killed_host_costs_its_own_modules_and_nothing_else(rig: WideRig) -> None:
    before = len(rig.pulses)
    rig.send(60)
    rig.until_written(DEAD, lambda written: written > before + 10)
    rig.hosts[DEAD].kill()
    rig.wait_sent()
    for host in ALIVE:
        for status in rig.until_written(host, lambda written: written == len(rig.pulses)).values():
            assert imbalance(ReceiverStatus, status) == {}
    images = rig.images()
    assert list(images) == rig.pulses
    assert images[rig.pulses[before]] == (True, ALL)
    assert images[rig.pulses[-1]] == (False, LIVING)
    assert {pulse: right for pulse, (_, right) in images.items() if not set(right) >= set(LIVING)} == {}


def test_the_ioc_names_the_modules_of_the_killed_host(rig: WideRig) -> None:
    gone, there = modules_of(DEAD), [module for host in ALIVE for module in modules_of(host)]
    rig.until_all("State_RBV", lambda state: state == "Failed", gone)
    rig.until_all("Message_RBV", lambda text: f"no snapshot from {DEAD}" in text, gone)
    rig.until_all("Disk:Written_RBV", lambda written: written == len(rig.pulses), there)
    assert set(rig.values(*(f"{module}:Adopted_RBV" for module in there)).values()) == {"Yes"}
    mask = sum(1 << number for number in ALL if number not in LIVING)
    assert rig.values("Stream:MissingMask_RBV") == {"Stream:MissingMask_RBV": mask}


def test_the_data_set_opens_without_the_killed_host_and_names_its_modules(rig: WideRig) -> None:
    data_map, view = str(rig.path.with_suffix(".json")), rig.path.with_suffix(".h5")
    run("map", str(rig.path), "--output", data_map)
    checked = run("verify", data_map)
    assert checked.returncode == 1
    named = re.findall(r"^host: (M\d\d): .* of host (\w+) cannot be seen", checked.stdout, re.MULTILINE)
    assert named == [(module, DEAD) for module in modules_of(DEAD)]
    written = run("write", data_map, "--view", "--output", str(view))
    assert written.returncode == 0, written.stderr
    with h5py.File(view) as file:
        last = file["entry/data/data"][-1]
        assert right_modules(rig.pulses[-1], last, SHAPE[0]) == LIVING
        assert len(file["data/WIDE/is_good_frame"]) == len(rig.pulses)
        assert not file["data/WIDE/is_good_frame"][:].any()


def test_a_host_that_is_back_brings_its_share_of_the_data_set_and_its_workers(rig: WideRig) -> None:
    back = rig.hosts[DEAD]
    back.boot()
    data_map, view = str(rig.path.with_suffix(".json")), rig.path.with_suffix(".back.h5")
    assert run("write", data_map, "--view", "--output", str(view)).returncode == 0
    with h5py.File(view) as file:
        good = file["data/WIDE/is_good_frame"][:, 0]
        assert good[0]
        assert right_modules(rig.pulses[0], file["entry/data/data"][0], SHAPE[0]) == ALL
        assert not good[-1]
    module = modules_of(DEAD)[0]
    (lease,) = back.seen_at.glob(f"WIDE/{module}/{LEASE}")
    long_ago = time.time() - 2 * STALE_S  # it was away for longer than a lease holds
    os.utime(lease, (long_ago, long_ago))
    rig.start(DEAD, "receive", module).ready()
    rig.until_all("Adopted_RBV", lambda adopted: adopted == "Yes", [module])
    rig.until_all("RunState_RBV", lambda state: state == "Enabled", [module])
