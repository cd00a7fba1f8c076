"""``Pva1:Image`` of modules at their places with gaps between them, and of frames that are replayed: exact pixels by p4p."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.pattern import frame_pattern
from tests.support.hosts import on_hosts
from tests.support.process import Process, WorkerProcess
from tests.support.two_modules import COLS, ROWS, pattern_image
from tests.support.waiting import until
from tests.system.test_images import CONFIG, Bench, attributes, pixels
from tests.unit.buffer.make import RawBuffer

CHIP, GAP, GAP_VALUE = 32, 2, 7
BETWEEN = 10
"""Rows between the two modules."""


def spread(frame: np.ndarray) -> np.ndarray:
    """A module with the gaps between its chips, put together chip by chip."""
    down, across = ROWS // CHIP, COLS // CHIP
    found = np.full((ROWS + (down - 1) * GAP, COLS + (across - 1) * GAP), GAP_VALUE, frame.dtype)
    for y in range(down):
        for x in range(across):
            chip = frame[y * CHIP : (y + 1) * CHIP, x * CHIP : (x + 1) * CHIP]
            top, left = y * (CHIP + GAP), x * (CHIP + GAP)
            found[top : top + CHIP, left : left + CHIP] = chip
    return found


def test_modules_lie_at_their_places_with_gaps(
    tmp_path: Path, own_epics: dict[str, str], stack: ExitStack, runtime_dir: Path
) -> None:
    second = ROWS + GAP + BETWEEN
    text = CONFIG.replace(
        "packets_per_frame = 4 }}", "packets_per_frame = 4, chip_rows = 32, chip_cols = 32, gap = 2 }}"
    )
    text = text.replace("port = 50020\n", "port = 50020\nplace = {{ row = 0, column = 0 }}\n")
    text = text.replace(
        "port = 50021\n", f'port = 50021\nplace = {{{{ row = {second}, column = 0, flip = "rows" }}}}\n'
    )
    text = text.replace("[stream]\n", f'[stream]\nlayout = "geometry"\ngap_value = {GAP_VALUE}\n')
    bench = Bench(tmp_path, stack, own_epics, text=text)
    bench.send(1000)
    value = bench.client().get(f"{bench.prefix}Pva1:Image", timeout=20)
    upper, lower = (spread(module.pixels(1000)) for module in bench.modules)
    between = np.full((BETWEEN, upper.shape[1]), GAP_VALUE, upper.dtype)
    expected = np.concatenate([upper, between, lower[::-1]])
    assert [d.size for d in value.dimension] == [*reversed(expected.shape)]
    np.testing.assert_array_equal(pixels(value), expected)
    assert (attributes(value)["PulseId"], attributes(value)["IsGood"]) == (1000, 1)


@pytest.mark.long
def test_replayed_frames_are_shown(
    tmp_path: Path, own_epics: dict[str, str], stack: ExitStack, runtime_dir: Path
) -> None:
    raw = RawBuffer(tmp_path / "JF", shape=(ROWS, COLS), packets=4)
    first, last = 1000, 1199
    for pulse_id in range(first, last + 1):
        for m, module in enumerate(raw.modules):
            raw.put(module, pulse_id, data=frame_pattern(pulse_id, m, (ROWS, COLS), "uint16").tobytes())
    text, port = on_hosts(CONFIG, tmp_path, {"M00": "h2", "M01": "h2", "stream": "h3"})
    text = text.replace("[stream]\n", f'[stream]\nreduced = "tcp://127.0.0.3:{port + 20}"\n')
    bench = Bench(tmp_path, stack, own_epics, text=text)
    stack.enter_context(WorkerProcess(bench.prefix, "stream", "stream", str(tmp_path / "config.toml"))).ready()
    got: list[Any] = []
    subscription = bench.client().monitor(f"{bench.prefix}Pva1:Image", got.append)
    stack.callback(subscription.close)
    until(lambda: got)
    there = f"tcp://127.0.0.2:{port}"
    replay = Process("-m", "ioc", "replay", str(raw.folder), "--rate", "20", "--zmq", there, timeout_s=30)
    until(lambda: len({attributes(value)["PulseId"] for value in got[1:]}) >= 5)
    assert replay.wait() == 0
    for value in got[1:]:
        pulse_id = attributes(value)["PulseId"]
        assert first <= pulse_id <= last
        image = pattern_image(pulse_id)
        np.testing.assert_array_equal(pixels(value), image)
        assert attributes(value)["IsGood"] == 1
