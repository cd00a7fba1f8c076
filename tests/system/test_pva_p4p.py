import numpy as np
import pytest

from detectors.sources.pva import open_source
from detectors.sources.pvspec import parse_pv_spec
from tests.support.child import Child
from tests.support.epics_env import isolate
from tests.support.images import image
from tests.support.recording_sink import RecordingSink


@pytest.fixture(autouse=True)
def own_epics(monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch)


def source(text: str, client: str = "p4p", when_full: str = "drop"):
    return open_source(parse_pv_spec(text, "cam"), client=client, direct_above=256 << 10, when_full=when_full)


def test_images_arrive_bit_exact_with_their_heads() -> None:
    sink, src = RecordingSink(), source("CAM:Image")
    with Child("tests.support.p4p_server", "CAM:Image") as camera:
        src.start(sink)
        try:
            sink.wait_for("empty")
            camera.ask("post", unique_id=7, shape=[3, 4], attributes={"ColorMode": 0, "gain": 1.5, "who": "me"}, severity=2)
            sink.wait_for("update")
        finally:
            src.close()
    assert sink.faults == []
    update, data = sink.of("update")[0]
    np.testing.assert_array_equal(data, image("uint16", (3, 4), 7))
    assert (update.unique_id, update.shape, update.dtype, update.nbytes) == (7, (3, 4), "uint16", 24)
    assert update.timestamp_ns == 1_700_000_000_000_000_005
    assert update.data_timestamp_ns == 1_699_999_999_000_000_005
    assert update.attributes == {"ColorMode": 0, "gain": 1.5, "who": "me"}
    assert update.alarm_severity == 2
