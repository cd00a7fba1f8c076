from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from detectors.buffer.reader import BufferReader
from detectors.cluster.jobs import ThisProcess
from detectors.errors import BufferReadError, HostError, ProcessingError
from detectors.outputs.hdf5.selection import PulseRange
from detectors.processing.function import load
from detectors.processing.recorded import process
from tests.unit.buffer.make import RawBuffer
from tests.unit.cluster.stopped import StopsAfter

START, STOP = 12_340_000, 12_350_000
PULSES = range(START + 990, START + 9_010, 100)
"""Over nine files."""
RANGE = PulseRange(START, STOP)

FUNCTION = """
import pathlib
log = pathlib.Path(__file__).with_name("calls")

def f(image, head):
    with log.open("a") as file:
        print(head.pulse_id, file=file)
    return {"image": image * 0.1, "modules": head.present.bit_count(), "good": head.is_good_frame}
"""


@pytest.fixture
def raw(tmp_path: Path) -> RawBuffer:
    """Two modules; M01 lacks the third pulse."""
    return RawBuffer(tmp_path / "JF01").fill(PULSES, lacking=(("M01", PULSES[2]),))


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(FUNCTION)
    return f"{tmp_path}/mine.py:f"


@pytest.fixture
def run(raw: RawBuffer, spec: str) -> Callable[..., bytes]:
    def run_(path: Path, workers: ThisProcess | None = None, pulses: PulseRange = RANGE) -> bytes:
        process(BufferReader(raw.folder), load(spec), pulses, path, workers or ThisProcess())
        return path.read_bytes()

    return run_


def calls(tmp_path: Path) -> list[int]:
    return [int(line) for line in (tmp_path / "calls").read_text().split()]


def test_every_image_of_the_range_is_given_once_and_in_order(run, raw: RawBuffer, tmp_path: Path) -> None:
    run(tmp_path / "a.h5", pulses=PulseRange(PULSES[1], PULSES[-2], 200))
    wanted = list(PULSES[1:-1:2])
    assert calls(tmp_path) == wanted
    with h5py.File(tmp_path / "a.h5") as file:
        result = file["result"]
        assert isinstance(result, h5py.Group)
        images = [np.concatenate([raw.frame(module, p) for module in raw.modules]) for p in wanted]
        assert np.allclose(result["image"], 0.1 * np.sum(images, axis=0))
        assert result["modules"][()] == 2 * len(wanted)
        attributes = dict(result.attrs)
        assert list(attributes.pop("modules")) == ["M00", "M01"]
        assert attributes == {
            "function": f"{tmp_path}/mine.py:f",
            "detector": "JF01",
            "start": PULSES[1],
            "stop": PULSES[-2],
            "step": 200,
            "images": len(wanted),
            "incomplete": 0,
            "unreadable": 0,
            "unreadable_files": 0,
        }


def test_a_missing_module_is_zeros_and_the_head_says_so(run, raw: RawBuffer, tmp_path: Path) -> None:
    run(tmp_path / "a.h5", pulses=PulseRange(PULSES[2], PULSES[2]))
    with h5py.File(tmp_path / "a.h5") as file:
        result = file["result"]
        assert isinstance(result, h5py.Group)
        assert np.array_equal(result["image"][:8], 0.1 * raw.frame("M00", PULSES[2]))
        assert not result["image"][8:].any()
        assert (result["modules"][()], result["good"][()]) == (1, 0)
        assert result.attrs["incomplete"] == 1


def test_what_cannot_be_read_is_counted(run, raw: RawBuffer, tmp_path: Path) -> None:
    torn, lost = PULSES[5], PULSES[40]
    for module in raw.modules:
        raw.poke(raw.path(module, torn), torn % 1000 * raw.record_bytes, b"\x07")
    raw.path("M01", lost).write_bytes(b"")
    raw.path("M01", lost).unlink()
    raw.path("M01", lost).mkdir()
    run(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        attributes = file["result"].attrs
        assert attributes["unreadable"] == 1
        assert attributes["unreadable_files"] == 1
        assert attributes["images"] == len(PULSES) - 1
        assert attributes["incomplete"] == 1 + sum(p // 1000 == lost // 1000 for p in PULSES)


def test_the_same_command_gives_the_same_bytes(run, tmp_path: Path) -> None:
    assert run(tmp_path / "a.h5") == run(tmp_path / "b.h5")


@pytest.mark.parametrize("jobs", [0, 1, 8])
def test_what_was_stopped_goes_on_and_ends_the_same(run, tmp_path: Path, jobs: int) -> None:
    whole = run(tmp_path / "whole.h5")
    (tmp_path / "calls").unlink()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a.h5", StopsAfter(jobs))
    assert not (tmp_path / "a.h5").exists()
    assert run(tmp_path / "a.h5") == whole
    assert calls(tmp_path) == list(PULSES)
    assert not (tmp_path / "a.h5.parts").exists()


def test_a_part_that_is_not_whole_is_done_again(run, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole.h5")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a.h5", StopsAfter(3))
    for path, size in zip(sorted((tmp_path / "a.h5.parts").glob("*.npz")), (0, 100), strict=False):
        path.write_bytes(path.read_bytes()[:size])
    assert run(tmp_path / "a.h5") == whole


def test_a_function_that_changed_does_not_go_on(run, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a.h5", StopsAfter(1))
    (tmp_path / "mine.py").write_text(FUNCTION + "# changed\n")
    with pytest.raises(HostError, match=r"a\.h5\.parts: has parts of another command"):
        run(tmp_path / "a.h5")


def test_a_function_that_fails_leaves_nothing(run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(image, head):\n    return 1 / 0\n")
    with pytest.raises(ProcessingError, match=rf"pulse {PULSES[0]}: ZeroDivisionError.*mine\.py, line 2"):
        run(tmp_path / "a.h5")
    assert sorted(path.name for path in tmp_path.glob("a.h5*")) == []


def test_a_range_without_images_leaves_nothing(run, tmp_path: Path) -> None:
    for first, last in ((5, 9), (PULSES[0] + 1, PULSES[0] + 2)):
        with pytest.raises(BufferReadError, match=f"holds no image of {first} to {last} in steps of 1; M00 holds"):
            run(tmp_path / "a.h5", pulses=PulseRange(first, last))
    assert sorted(path.name for path in tmp_path.glob("a.h5*")) == []


def test_a_file_that_is_there_is_not_replaced(run, tmp_path: Path) -> None:
    (tmp_path / "a.h5").touch()
    with pytest.raises(HostError, match="is there already"):
        run(tmp_path / "a.h5")
    assert not (tmp_path / "calls").exists()


def test_without_places_there_are_no_images_with_gaps(raw: RawBuffer, spec: str, tmp_path: Path) -> None:
    with pytest.raises(BufferReadError, match="found no places of the modules"):
        process(BufferReader(raw.folder), load(spec), RANGE, tmp_path / "a.h5", ThisProcess(), gaps=True)
    assert sorted(path.name for path in tmp_path.glob("a.h5*")) == []
