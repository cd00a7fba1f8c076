"""A user's function on live images under the soft-IOC: records, results as PVs, and the command for a new total."""

from pathlib import Path

import numpy as np
import pytest

from detectors.live_streams import ResultStream
from sim.pattern import frame_pattern
from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import prefix_of, write_config
from tests.support.ports import free_ports
from tests.support.senders import send_frames

SHAPE = (512, 1024)
FRAMES = 20

OWN = """
def own(image, head):
    return {"rows": image.sum(axis=1), "sum": image.sum()}
"""


@pytest.mark.long
def test_the_total_of_live_images_is_a_pv_and_a_stream_and_its_counts_are_records(tmp_path: Path, runtime_dir: Path):
    ports = free_ports(2)
    config = write_config(tmp_path, ports=(ports[0], ports[1]))
    (tmp_path / "own.py").write_text(OWN)
    config.write_text(
        f'{config.read_text().split("[[pva]]")[0]}[process]\nfunction = "{tmp_path}/own.py:own"\nqueue = {FRAMES}\n'
        f'results = "ipc://{tmp_path}/results"\n'
    )
    with IocProcess(prefix_of(config), "-m", "ioc", "run", str(config)) as ioc:
        for name in ("M00:State_RBV", "M01:State_RBV", "Process:State_RBV"):
            ioc.until(name, "Idle")
        with ResultStream(f"ipc://{tmp_path}/results", timeout_s=10) as results:
            ioc.until("Process:Subscribers_RBV", 1)
            send_frames(ports, FRAMES, "--rate", "20")
            ioc.until("Process:TotalImages_RBV", FRAMES)
            rows = np.zeros(2 * SHAPE[0], np.uint64)
            for pulse_id in range(1, FRAMES + 1):
                images = [frame_pattern(pulse_id, module, SHAPE, "uint16") for module in (0, 1)]
                rows += np.concatenate(images).sum(axis=1, dtype=np.uint64)
            assert (np.asarray(ioc.value("Process:Total:rows")) == rows).all()
            assert int(ioc.value("Process:Total:sum")) == int(rows.sum())
            for head, value in results:
                if (head.of, head.name, head.images) == ("total", "rows", FRAMES):
                    assert (value == rows).all()
                    break
            else:
                pytest.fail("the stream has no such total")
        ioc.until("Process:Processed_RBV", FRAMES)
        assert [ioc.value(f"Process:{name}_RBV") for name in ("Dropped", "Failed", "Lost")] == [0, 0, 0]
        ioc.until("Process:Age_RBV", lambda age: age > 0)
        ioc.put("Process:Reset", 1)
        ioc.until("Process:TotalImages_RBV", 0)
        ioc.put("Process:Run", 0)
        ioc.until("Process:State_RBV", "Off")
        assert ioc.value("Process:Processed_RBV") == FRAMES
        ioc.stop_clean()
