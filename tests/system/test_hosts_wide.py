"""32 modules on four hosts, each a set of namespaces: one image stream, one IOC wherever it runs, and hosts that die."""

from collections.abc import Iterator

import pytest

from detectors.stats import ReceiverStatus
from tests.support.balance import imbalance
from tests.support.namespaces import why_no_hosts
from tests.support.wide import HOSTS, MODULES
from tests.support.wide_rig import WideRig

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(why_no_hosts()), reason=why_no_hosts())]

ALL = list(range(len(MODULES)))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WideRig]:
    with WideRig(tmp_path_factory.mktemp("wide")) as made:
        yield made


def test_every_frame_is_on_the_disk_of_the_host_that_received_it(rig: WideRig) -> None:
    rig.send(30)
    rig.wait_sent()
    for host in HOSTS:
        for status in rig.until_written(host, rig.sent).values():
            assert imbalance(ReceiverStatus, status) == {}


def test_one_stream_has_the_modules_of_all_hosts(rig: WideRig) -> None:
    images = rig.images()
    assert list(images) == list(range(1, rig.sent + 1))
    assert set(images.values()) == {(True, ALL)}
