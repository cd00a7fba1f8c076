"""32 modules on four hosts, each a set of namespaces: one image stream, one IOC wherever it runs, and hosts that die."""

from collections.abc import Iterator

import pytest

from detectors.stats import ReceiverStatus
from tests.support.balance import imbalance
from tests.support.namespaces import why_no_hosts
from tests.support.wide import HOSTS, MODULES, host_of
from tests.support.wide_rig import WideRig

pytestmark = [pytest.mark.alone, pytest.mark.long, pytest.mark.skipif(bool(why_no_hosts()), reason=why_no_hosts())]

ALL = list(range(len(MODULES)))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WideRig]:
    with WideRig(tmp_path_factory.mktemp("wide")) as made:
        yield made


def test_every_frame_is_on_the_disk_of_the_host_that_received_it(rig: WideRig) -> None:
    rig.send(30)
    rig.wait_sent()
    for host in HOSTS:
        for status in rig.until_written(host, lambda written: written == rig.sent).values():
            assert imbalance(ReceiverStatus, status) == {}


def test_one_stream_has_the_modules_of_all_hosts(rig: WideRig) -> None:
    images = rig.images()
    assert list(images) == list(range(1, rig.sent + 1))
    assert all(image == (True, ALL) for image in images.values())


def test_a_killed_host_costs_its_own_modules_and_nothing_else(rig: WideRig) -> None:
    """The last test: the host stays dead."""
    *alive, dead = HOSTS
    before = rig.sent
    rig.send(60)
    rig.until_written(dead, lambda written: written > before + 10)
    rig.hosts[dead].kill()
    rig.wait_sent()
    for host in alive:
        for status in rig.until_written(host, lambda written: written == rig.sent).values():
            assert imbalance(ReceiverStatus, status) == {}
    images = rig.images()
    assert list(images) == list(range(1, rig.sent + 1))
    living = [number for number, module in enumerate(MODULES) if host_of(module) != dead]
    assert images[before + 1] == (True, ALL)
    assert images[rig.sent] == (False, living)
    assert all(set(right) >= set(living) for _, right in images.values())
    assert rig.stream_status()["sync"]["missing_mask"] == sum(1 << n for n in ALL if n not in living)
