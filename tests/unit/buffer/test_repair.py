import os
import shutil
import struct
from pathlib import Path

import pytest

from detectors.buffer.checks import check_buffer
from detectors.buffer.reader import BufferReader
from detectors.buffer.registration import DetectorInfo
from detectors.buffer.repair import repair_buffer
from detectors.buffer.writer import BufferWriter
from detectors.errors import HostError
from tests.unit.buffer.make import FrameMaker, RawBuffer

PULSES = (0, 2, 3, 4, 999, 1000)


@pytest.fixture
def torn(tmp_path) -> RawBuffer:
    """One module after a crash: a wrong marker, a wrong pulse, a wrong pixel, a lost record, a file cut off."""
    raw = RawBuffer(tmp_path / "JF", ["M00"])
    for pulse_id in (*PULSES, 1500):
        raw.put("M00", pulse_id)
    path, size = raw.path("M00", 0), raw.record_bytes
    raw.poke(path, 0, b"\x11")
    raw.poke(path, 2 * size + 1, struct.pack("<Q", 9))
    raw.poke(path, 4 * size - 1, bytes([path.read_bytes()[4 * size - 1] ^ 1]))
    raw.poke(path, 4 * size, b"\0")
    with raw.path("M00", 1000).open("r+b") as file:
        file.truncate(500 * size + 60)
    return raw


def images(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_repaired_buffer_has_no_findings_and_keeps_what_is_sound(torn):
    reader = BufferReader(torn.folder)
    kept = {p: reader.read_frame(p).data.tobytes() for p in (999, 1000)}
    done = [(f.check, f.pulse) for f in repair_buffer(reader)]
    assert done == [
        ("marker", 0), ("pulse_id", 2), ("crc", 3), ("sidecar", 4),
        ("truncated", 1500), ("sidecar", 1500), ("size", None),
        ("latest", None),
    ]  # fmt: skip
    reader = BufferReader(torn.folder)
    assert list(check_buffer(reader)) == []
    assert reader.pulses(0, 2000).tolist() == [999, 1000]
    assert {p: reader.read_frame(p).data.tobytes() for p in kept} == kept
    assert (torn.folder / "M00" / "LATEST").read_text() == "0/1000.bin\n"
    assert torn.path("M00", 1000).stat().st_size == 1000 * torn.record_bytes + 1
    assert list(repair_buffer(reader)) == []


def test_a_dry_run_finds_the_same_and_changes_nothing(torn, tmp_path):
    before = images(torn.folder)
    found = list(repair_buffer(BufferReader(torn.folder), dry_run=True))
    assert images(torn.folder) == before
    shutil.copytree(torn.folder, tmp_path / "copy" / "JF")
    done = list(repair_buffer(BufferReader(tmp_path / "copy" / "JF")))
    assert [(f.check, f.pulse) for f in done] == [(f.check, f.pulse) for f in found]


def test_only_the_range_is_repaired(torn):
    assert [f.pulse for f in repair_buffer(BufferReader(torn.folder), 2, 3)] == [2, 3, None]
    assert [f.pulse for f in check_buffer(BufferReader(torn.folder), 0, 999)] == [0, 4]


def test_a_closing_byte_is_restored(torn):
    torn.poke(torn.path("M00", 0), 1000 * torn.record_bytes, b"\0")
    assert ("closing_byte", None) in [(f.check, f.pulse) for f in repair_buffer(BufferReader(torn.folder))]
    assert torn.path("M00", 0).read_bytes()[-1] == 0xFF


def test_latest_that_names_nothing_is_rebuilt(torn):
    latest = torn.folder / "M00" / "LATEST"
    list(repair_buffer(BufferReader(torn.folder)))
    latest.write_text("")
    assert [f.check for f in repair_buffer(BufferReader(torn.folder))] == ["latest"]
    latest.write_text("0/7000.bin\n")
    assert [f.check for f in repair_buffer(BufferReader(torn.folder))] == ["latest"]
    assert latest.read_text() == "0/1000.bin\n"


def test_a_file_of_something_else_is_left_alone(torn):
    path = torn.path("M00", 1000)
    path.write_bytes(bytes(1_000_000))
    findings = [f for f in repair_buffer(BufferReader(torn.folder)) if f.check == "readable"]
    assert len(findings) == 1
    assert path.read_bytes() == bytes(1_000_000)


def test_a_file_that_is_being_written_is_refused(tmp_path):
    frames = FrameMaker(10)
    sink = BufferWriter(tmp_path, DetectorInfo("uint8", (10,), frames.shape.data_bytes, ("M00",)))
    with frames.lease(1) as lease:
        sink.write([lease])
    path = tmp_path / "M00" / "0" / "0.bin"
    with path.open("r+b") as file:
        file.seek(2 * 51)
        file.write(b"\x11")
    with pytest.raises(HostError, match=r"0\.bin: a writer has it open; stop the writer"):
        list(repair_buffer(BufferReader(tmp_path)))
    sink.close()
    assert [f.check for f in repair_buffer(BufferReader(tmp_path))] == ["marker"]


def test_what_cannot_be_read_is_left_alone_and_the_rest_is_repaired(torn):
    os.mkfifo(torn.path("M00", 100_000).parent)
    (torn.folder / "M00" / "LATEST").unlink(missing_ok=True)
    (torn.folder / "M00" / "LATEST").mkdir()
    findings = list(repair_buffer(BufferReader(torn.folder)))
    left = [f.message for f in findings if f.check == "readable"]
    assert left == [
        f"{torn.folder / 'M00' / '100000'}: cannot be read: Not a directory",
        f"{torn.folder / 'M00' / 'LATEST'}: cannot be read: it is not a regular file",
    ]
    assert [f.pulse for f in findings if f.check == "marker"]
