import re
from pathlib import Path

import pytest

from detectors.stats import (
    CaptureStatus,
    ImagesStatus,
    MonitorStatus,
    OutputStats,
    ProcessingStatus,
    ReceiverStatus,
    StreamStatus,
    SyncStats,
    flat,
)
from detectors.workers.losses import CAUSES, LIVE_LOSSES, LOSSES, losses_of
from ioc.glance.recent_losses import RecentLosses
from ioc.glance.verdict import HostView, Word, WorkerView, hosts_of, judge

TEMPLATES = Path(__file__).parents[4] / "db"
GOOD = WorkerView("udp.M00", flat(ReceiverStatus(state="Receiving")))


def worker(status, **more):
    return WorkerView("udp.M01", flat(status), **more)


def test_a_system_that_receives_is_good():
    assert judge([GOOD]) == judge([GOOD], ioc_running=True)
    assert judge([GOOD]).word is Word.GOOD
    assert judge([GOOD]).reasons == ()


def test_without_any_worker_it_is_off():
    assert judge([]).word is Word.OFF
    assert judge([WorkerView("udp.M00", {}, running=False)]).word is Word.OFF


def far(name: str, *, running: bool = True, responding: bool = True, wanted: bool = True) -> WorkerView:
    """A worker on the host daq1."""
    return WorkerView(name, GOOD.values, running=running, responding=responding, wanted=wanted, host="daq1")


def test_a_host_of_which_nothing_is_heard_is_named_once():
    gone = [far(name, running=False) for name in ("udp.M01", "udp.M02")]
    verdict = judge([GOOD, *gone, far("stream", running=False, wanted=False)])
    assert (verdict.word, verdict.reasons) == (Word.BROKEN, ("no answer from the host daq1 (2 workers)",))


def test_a_worker_that_is_gone_from_a_host_is_named_with_it():
    views = [GOOD, far("udp.M01"), far("udp.M02", running=False)]
    assert judge(views).reasons == ("udp.M02 does not run on daq1",)
    assert hosts_of(views) == [HostView("daq1", workers=2, responding=1, silent=False)]


def test_without_its_ioc_the_data_is_good_and_that_is_said():
    verdict = judge([GOOD], ioc_running=False)
    assert verdict.word is Word.GOOD
    assert "the IOC does not run" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (WorkerView("udp.M01", {}, running=False), "udp.M01 does not run"),
        (worker(ReceiverStatus(), responding=False), "udp.M01 runs and sends no snapshots"),
        (worker(ReceiverStatus(state="Stalled")), "udp.M01 is Stalled"),
        (worker(MonitorStatus(state="Connecting", message="SIM:IMAGE: no answer")), "Connecting: SIM:IMAGE: no answer"),
        (worker(ReceiverStatus(disk=OutputStats(state="Full", message="2 GB free"))), "disk is Full: 2 GB free"),
    ],
)
def test_what_breaks_it_is_named(view, reason):
    verdict = judge([GOOD, view])
    assert verdict.word is Word.BROKEN
    assert any(reason in found for found in verdict.reasons)


def test_a_worker_that_is_switched_off_breaks_nothing():
    assert judge([GOOD, WorkerView("udp.M01", {}, running=False, wanted=False)]).word is Word.GOOD


def test_what_is_lost_recently_makes_it_losing_and_old_losses_do_not():
    losses = RecentLosses(10.0)

    def at(now_s, lost):
        values = flat(ReceiverStatus(state="Receiving")) | {"packets.lost": lost}
        return judge([WorkerView("udp.M00", values, gains=losses.look("udp.M00", values, now_s))])

    assert at(0.0, 100).word is Word.GOOD
    assert at(1.0, 103).reasons == ("udp.M00: 3 packets lost",)
    assert at(2.0, 103).word is Word.LOSING
    assert at(12.0, 103).word is Word.GOOD
    assert losses.span_s == 10.0


def test_viewers_that_are_slow_lose_no_data_but_are_named():
    verdict = judge([WorkerView("udp.M00", GOOD.values, gains={"zmq.dropped": 7})])
    assert verdict.word is Word.GOOD
    assert "7 frames dropped for a slow subscriber" in verdict.reasons[0]


def test_a_missing_module_makes_images_incomplete():
    verdict = judge([worker(StreamStatus(state="Incomplete", sync=SyncStats(missing=2)))])
    assert verdict.word is Word.LOSING
    assert "2 modules are missing" in verdict.reasons[0]


def test_the_worst_comes_first():
    verdict = judge(
        [WorkerView("udp.M00", GOOD.values, gains={"packets.lost": 1}), WorkerView("pva.CAM", {}, running=False)]
    )
    assert verdict.reasons == ("pva.CAM does not run", "udp.M00: 1 packets lost")


def test_every_loss_that_the_records_alarm_majorly_on_is_known():
    known = {*LOSSES, *CAUSES, *LIVE_LOSSES}
    for template in TEMPLATES.glob("*.template"):
        for body in re.findall(r"^record\(.*?^\}", template.read_text(), re.MULTILINE | re.DOTALL):
            name = re.search(r'"recent\.(\S+) ', body)
            if name and re.search(r'field\((HSV|HHSV), "MAJOR"\)', body):
                counter = name[1]
                assert counter in known or counter.startswith("$(F)"), f"{template.name}: {counter}"


def test_workers_that_show_the_newest_image_lose_none():
    values = flat(ImagesStatus())
    assert "images.overwritten" in values
    assert losses_of(values) == []
    assert "images.overwritten" in losses_of(flat(CaptureStatus()))


def test_every_counter_that_is_looked_at_exists():
    fields = {
        name
        for status in (ReceiverStatus(), MonitorStatus(), StreamStatus(), ProcessingStatus())
        for name in flat(status)
    }
    assert {*LOSSES, *CAUSES, *LIVE_LOSSES} - fields <= {"output.dropped"}
