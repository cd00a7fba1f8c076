import queue
import threading

import numpy as np
import pytest
from p4p.client.thread import Context

from detectors.buffer.reader import BufferReader
from detectors.errors import HostError
from detectors.replay.play import replay
from detectors.replay.pv import PvTarget
from tests.unit.buffer.make import RawBuffer

CONF = {
    "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1",
    "EPICS_PVAS_SERVER_PORT": "0",
    "EPICS_PVAS_BROADCAST_PORT": "0",
    "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
    "EPICS_PVAS_BEACON_ADDR_LIST": "127.0.0.1",
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_images_come_as_their_source_posted_them(tmp_path, dtype):
    raw = RawBuffer(tmp_path / "CAM", ["M00"], dtype=dtype)
    for pulse_id in (5, 6, 9):
        raw.put("M00", pulse_id)
    reader = BufferReader(raw.folder)
    target = PvTarget(reader, "TEST:image", CONF)
    updates: queue.SimpleQueue = queue.SimpleQueue()
    taken = threading.Semaphore(0)

    def update(value) -> None:
        if not isinstance(value, Exception) and value.uniqueId:
            updates.put((value.uniqueId, value.timeStamp.nanoseconds, value.value, [d.size for d in value.dimension]))
            taken.release()

    send = target.send

    def one_by_one(image, period_s) -> int:
        """Wait until each image is there: a monitor may merge two that come at once."""
        sent = send(image, period_s)
        assert taken.acquire(timeout=20)
        return sent

    target.send = one_by_one
    with Context("pva", conf=target.client_conf, useenv=False, nt=False) as client:
        subscription = client.monitor("TEST:image", update)
        report = replay(reader, target, start=0, stop=10)
        subscription.close()
    target.close()
    assert report.messages == 3
    for pulse_id in (5, 6, 9):
        unique_id, nanoseconds, pixels, sizes = updates.get_nowait()
        assert (unique_id, nanoseconds, sizes) == (pulse_id + 7, 1000 + pulse_id, [16, 8])
        assert pixels.dtype == np.dtype(dtype)
        assert pixels.tobytes() == raw.frame("M00", pulse_id).tobytes()


def test_without_a_client_it_gives_up_and_says_so(tmp_path):
    raw = RawBuffer(tmp_path / "CAM", ["M00"])
    raw.put("M00", 1)
    target = PvTarget(BufferReader(raw.folder), "TEST:image", CONF, wait_s=0.05)
    with pytest.raises(HostError, match=r"TEST:image: found no client within 0\.05 s"):
        target.ready()
    target.close()
