"""The whole chain for a minute: one module of 1 MiB a frame is received, written, and taken by one full live subscriber.

Sender, receiver and subscriber share the processors; packets come in bursts; files have no CRC, and are deleted once they are full.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.native import NoCompilerError
from bench.table import Row
from bench.udp import direct_write_rate
from bench.udp_rig import FRAME_GB, PER_FRAME, PORT, Udp
from bench.udp_worker import Worker
from detectors.geometry import GEOMETRIES

SECONDS, QUICK_SECONDS = 60, 5
RATE_HZ = 1000
DISK_SHARE = 0.65
"""Of what the disk takes from dd alone it is asked for no more than this: sender, receiver and subscriber leave less to it."""
SLOTS = 4096
"""The disk may stall for three seconds before frames are lost."""
RING, QUEUE = 256, 1000
"""Frames that may wait in the socket buffer and for the subscriber: with two processors each of them has to wait at times."""
KEPT = 4
"""Newest data files that are kept while the run lasts: 1000 frames each."""


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the frames that any stage lost, and what the chain costs."""
    folder = Path(tempfile.mkdtemp(prefix="pdb", dir=os.environ.get("BENCH_DISK", "/var/tmp")))
    try:
        rate = int(min(RATE_HZ, DISK_SHARE * direct_write_rate(folder) / FRAME_GB))
        if shutil.disk_usage(folder).free < 2 * (KEPT + 2) * 1000 * FRAME_GB * 1e9:
            yield Row("the whole chain: too little free space", 0, "")
            return
        yield from _measure(Udp(folder), folder / "data", rate, QUICK_SECONDS if quick else SECONDS)
    except NoCompilerError:
        yield Row("the whole chain: no C compiler, no sender that is fast enough", 0, "")
    finally:
        shutil.rmtree(folder)


def _measure(udp: Udp, folder: Path, rate: int, seconds: int) -> Iterator[Row]:
    frames = rate * seconds
    with (
        Worker(PORT, disk=folder, crc=False, slots=SLOTS, ring=RING, queue=QUEUE) as worker,
        _subscriber(worker) as subscriber,
        _deleting_old(folder),
    ):
        used = worker.cpu_s()
        udp.send(frames, rate, "burst", cpu=-1, first=1)
        status = worker.settled(frames)
        used = worker.cpu_s() - used
        out, _ = subscriber.communicate(timeout=30)
    taken = json.loads(out)["frames"]
    lost = {
        "packets": frames * PER_FRAME - status["packets"]["placed"],
        "frames not written": frames - status["disk"]["written"],
        "not sent": frames - status["zmq"]["written"],
        "not taken": frames - taken,
    }
    note = ", ".join(f"{count} {name}" for name, count in lost.items())
    yield Row(
        f"{seconds} s at {rate} frames/s: received, written and taken, lost",
        frames - min(taken, status["disk"]["written"], status["packets"]["placed"] // PER_FRAME),
        "frames",
        0,
        note=f"of {frames}; {note}",
    )
    yield Row("the same: the receiver's process", used / (frames * FRAME_GB), "CPU s/GB", note="one run")


@contextmanager
def _subscriber(worker: Worker) -> Iterator[subprocess.Popen[str]]:
    shape, dtype = GEOMETRIES["jungfrau"].shape, GEOMETRIES["jungfrau"].dtype
    command = [sys.executable, "-m", "bench.chain_subscriber", worker.frames, *map(str, shape), dtype]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "READY\n"
        worker.until_subscribed()
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def _deleting_old(folder: Path) -> Iterator[None]:
    """Delete all but the newest data files, a few times a second."""
    ended = threading.Event()

    def delete() -> None:
        while not ended.wait(0.3):
            for path in sorted(folder.rglob("*.bin"), key=lambda path: int(path.stem))[:-KEPT]:
                path.unlink()

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
