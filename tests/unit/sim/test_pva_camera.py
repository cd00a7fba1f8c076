"""The camera against p4p's own client, on free ports of the loopback."""

import queue
import time

import pytest
from p4p.client.thread import Context, Disconnected

from detectors.pixels import PIXEL_TYPES
from sim.clock import Schedule, Stop
from sim.pattern import check_frame
from sim.pva_camera import PvaCamera

SCHEDULE = Schedule(1_700_000_000_123_456_789, 100_000_000, 1000, 10)


class Client:
    """A monitor that keeps what came."""

    def __init__(self, camera):
        self.updates = queue.Queue()
        self._context = Context("pva", nt=False, conf=camera.client_conf, useenv=False)
        self._monitor = self._context.monitor(camera.name, self.updates.put, notify_disconnect=True)

    def image(self):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            update = self.updates.get(timeout=10)
            if not isinstance(update, Exception):
                return update
        raise AssertionError("no image within 10 s")

    def close(self):
        self._monitor.close()
        self._context.close()


@pytest.fixture
def serve():
    closers = []

    def start(shape=(4, 6), dtype="uint16", **options):
        camera = PvaCamera("SIM:CAM:image", shape, dtype, SCHEDULE, **options)
        closers.append(camera.close)
        client = Client(camera)
        closers.append(client.close)
        assert client.image().value is None  # nothing acquired yet
        return camera, client

    yield start
    for close in reversed(closers):
        close()


def test_an_image_is_the_pattern_of_its_pulse_with_exact_stamps(serve):
    camera, client = serve(module_id=3)
    for n in (0, 1, 7):
        camera.post(n)
        update = client.image()
        assert check_frame(update.value, 1000 + 10 * n, 3, (4, 6), "uint16")
        assert update.uniqueId == 1000 + n
        for stamp in (update.timeStamp, update.dataTimeStamp):
            assert stamp.secondsPastEpoch * 10**9 + stamp.nanoseconds == SCHEDULE.time_ns(n)
        assert [d.size for d in update.dimension] == [6, 4]  # x first
    report = camera.report
    assert (report.images, report.bytes, report.first_pulse, report.last_pulse) == (3, 144, 1000, 1070)
    assert (report.first_unique_id, report.last_unique_id) == (1000, 1007)


def test_later_updates_carry_only_what_changes(serve):
    camera, client = serve()
    camera.post(0)
    assert {"dimension", "attribute"} <= client.image().changedSet()
    camera.post(1)
    changed = client.image().changedSet()
    assert {"value", "uniqueId"} <= changed
    assert not {"dimension", "attribute"} & changed


@pytest.mark.parametrize("dtype", PIXEL_TYPES)
def test_every_pixel_type_has_its_member(serve, dtype):
    camera, client = serve(dtype=dtype)
    camera.post(0)
    value = client.image().value
    assert value.dtype == dtype
    assert check_frame(value, 1000, 0, (4, 6), dtype)


@pytest.mark.parametrize(
    ("shape", "mode"), [((4, 6), 0), ((4, 6, 3), 2), ((4, 3, 6), 3), ((3, 4, 6), 4), ((2, 4, 6), 0)]
)
def test_color_mode_names_the_axis_of_the_colours(serve, shape, mode):
    camera, client = serve(shape=shape)
    camera.post(0)
    (attribute,) = client.image().attribute
    assert (attribute.name, attribute.value) == ("ColorMode", mode)


def test_a_compressed_image_says_what_it_was(serve):
    camera, client = serve(shape=(64, 64), codec="blosc")
    camera.post(0)
    update = client.image()
    assert update.value.dtype == "uint8"
    assert (update.codec.name, update.codec.parameters) == ("blosc", 6)  # ushort
    assert update.compressedSize == update.value.nbytes
    assert update.uncompressedSize == 64 * 64 * 2


def test_unique_id_wraps_at_32_bits():
    camera = PvaCamera("SIM:CAM:image", (2, 2), "uint8", Schedule(0, 1, 2**31 - 1))
    camera.post(0)
    camera.post(1)
    camera.close()
    assert (camera.report.first_unique_id, camera.report.last_unique_id) == (2**31 - 1, -(2**31))


def test_a_camera_started_anew_counts_from_1():
    camera = PvaCamera("SIM:CAM:image", (2, 2), "uint8", SCHEDULE, count_afresh=True)
    camera.post(70)
    camera.post(72)
    camera.close()
    assert (camera.report.first_unique_id, camera.report.last_unique_id) == (1, 2)
    assert camera.report.last_pulse == 1000 + 10 * 72


def test_a_restart_disconnects_and_comes_back_with_the_new_shape(serve):
    camera, client = serve()
    camera.post(0)
    client.image()
    camera.restart((2, 8), "float32")
    assert isinstance(client.updates.get(timeout=10), Disconnected)
    assert client.image().value is None
    camera.post(5)
    update = client.image()
    assert [d.size for d in update.dimension] == [8, 2]
    assert check_frame(update.value, 1050, 0, (2, 8), "float32")


def test_run_posts_so_many_images():
    camera = PvaCamera("SIM:CAM:image", (2, 2), "uint8", Schedule.at_rate(1000, first_pulse=5))
    with Stop() as stop:
        report = camera.run(stop, frames=4)
    camera.close()
    assert (report.images, report.first_pulse, report.last_pulse) == (4, 5, 8)
