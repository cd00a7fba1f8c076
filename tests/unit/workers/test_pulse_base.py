"""Where pulse ids go on: from what is on disk, and alike in all modules."""

import multiprocessing
import os
import struct
from pathlib import Path

import pytest

from detectors.assembly.counted_pulses import BASE_STEP, UNKNOWN_START, PulseStart
from detectors.buffer.layout import relative_path
from detectors.buffer.registration import DetectorInfo, register_module
from detectors.config import Config, parse_config
from detectors.errors import HostError
from detectors.workers import pulse_base
from detectors.workers.pulse_base import SharedBase, pulse_start, shared_start

NBYTES = 64


@pytest.fixture
def config(tmp_path: Path) -> Config:
    modules = "".join(f'[[udp]]\nname = "M{i:02}"\nport = {50000 + i}\ngeometry = "eiger-16"\n' for i in range(2))
    return parse_config(
        f'[detector]\nname = "E"\nprefix = "E:"\npulse_id_step = 2\n[disk]\nfolder = "{tmp_path}"\n{modules}'
    )


def record(config: Config, module: str, pulse_id: int, frame_index: int) -> None:
    assert config.disk is not None
    folder = config.disk.folder / "E"
    register_module(folder, DetectorInfo("uint8", (NBYTES,), NBYTES, (module,)))
    path = folder / module / relative_path(pulse_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.truncate(fd, 1000 * (41 + NBYTES) + 1)
    os.pwrite(fd, struct.pack("<B5Q", 0xBE, pulse_id, frame_index, 0, 1, 0), pulse_id % 1000 * (41 + NBYTES))
    os.close(fd)


def test_nothing_on_disk(config: Config):
    assert pulse_start(config, config.udp[0], 0) == UNKNOWN_START


def test_the_base_is_that_of_the_last_record(config: Config):
    record(config, "M00", 3 * BASE_STEP + 46, 23)
    record(config, "M01", 3 * BASE_STEP + 50, 25)
    assert pulse_start(config, config.udp[0], 0) == PulseStart(3 * BASE_STEP, 3 * BASE_STEP + 46, 3 * BASE_STEP + 50)


def test_pulses_of_a_timing_system_are_no_base(config: Config):
    record(config, "M00", 20_123_456_789, 23)
    assert pulse_start(config, config.udp[0], 0) == PulseStart(0, 20_123_456_789, 20_123_456_789)


def test_a_folder_that_cannot_be_read_is_stepped_over(config: Config, caplog: pytest.LogCaptureFixture):
    record(config, "M00", 46, 23)
    assert config.disk is not None
    (config.disk.folder / "E/M00/module.json").write_text("[")
    (config.disk.folder / "E/detector.json").write_text("[")
    now_ns = 1_700_000_000_123_456_789
    start = pulse_start(config, config.udp[0], now_ns)
    assert 0 <= start.base - now_ns // 10**6 < BASE_STEP
    assert "time of day" in caplog.text


def test_modules_share_a_base(tmp_path: Path):
    one, other = SharedBase(tmp_path / "base"), SharedBase(tmp_path / "base")
    assert [one.begin(0), other.begin(BASE_STEP), one.begin(0)] == [0, BASE_STEP, BASE_STEP]
    # Both saw the detector start afresh; they lost other frames before it did.
    assert one.next(BASE_STEP, 2 * BASE_STEP - 1) == 2 * BASE_STEP
    assert other.next(BASE_STEP, 2 * BASE_STEP - 3) == 2 * BASE_STEP
    assert other.next(2 * BASE_STEP, 2 * BASE_STEP + 5) == 3 * BASE_STEP
    # What one gave already is not taken again.
    assert one.next(2 * BASE_STEP, 3 * BASE_STEP + 5) == 4 * BASE_STEP
    for base in (one, other):
        base.close()
    assert SharedBase(tmp_path / "base").begin(0) == 4 * BASE_STEP


def _take_next(path: Path) -> int:
    return SharedBase(path).next(0, 7)


def test_processes_that_ask_at_once_agree(tmp_path: Path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert set(pool.map(_take_next, [tmp_path / "base"] * 16)) == {BASE_STEP}


def test_a_link_in_its_place_is_refused(tmp_path: Path):
    (tmp_path / "base").symlink_to(tmp_path / "other")
    with pytest.raises(HostError, match="cannot be opened"):
        SharedBase(tmp_path / "base")


def test_bunch_ids_need_no_base(config: Config, monkeypatch: pytest.MonkeyPatch, stack):
    monkeypatch.setattr(pulse_base, "pulse_start", None)
    module = config.udp[0].model_copy(update={"pulse_from": "bunchid"})
    assert shared_start(config, module, stack)[0] == UNKNOWN_START
