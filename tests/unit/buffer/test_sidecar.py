import os
import struct

import pytest

from detectors.buffer.checks import check_buffer
from detectors.buffer.reader import BufferReader
from detectors.buffer.repair import repair_buffer
from detectors.buffer.sidecar import SidecarFile, read_entry, read_sidecar
from tests.unit.buffer.make import RawBuffer


@pytest.mark.parametrize("old", [True, False])
def test_both_versions_are_read_checked_and_repaired(tmp_path, old):
    raw = RawBuffer(tmp_path / "JF", ["M00"], packets=200, old_sidecars=old)
    raw.put("M00", 5, packets=199, missing=bytes(24) + b"\x80")
    raw.put("M00", 999)
    reader = BufferReader(tmp_path / "JF")
    head = reader.read_frame(5).head
    assert (head.timestamp_ns, head.detector_time) == (1_005, 0 if old else 2_005)
    assert (head.expected_packets, head.missing[24], len(head.missing)) == (200, 0x80, 64)
    assert read_entry(raw.meta("M00", 0), 6) is None
    assert read_entry(raw.meta("M00", 0), 999)["pulse_id"] == 999
    assert not list(check_buffer(reader))
    raw.poke(raw.path("M00", 5), 5 * raw.record_bytes + 100, b"\x5a\x5a")
    assert [(f.check, f.pulse) for f in repair_buffer(reader)] == [("crc", 5), ("latest", None)]
    assert not list(check_buffer(reader))
    assert read_sidecar(raw.meta("M00", 0))["flags"].nonzero()[0].tolist() == [999]


def test_another_version_is_refused_by_name(tmp_path):
    path = tmp_path / "0.meta"
    path.write_bytes(struct.pack("<8sII", b"PEBMETA\xff", 3, 256))
    for use in (read_sidecar, SidecarFile, lambda path: read_entry(path, 0)):
        with pytest.raises(OSError, match="found a sidecar of version 3, expected 1 or 2") as caught:
            use(path)
        assert caught.value.filename == str(path)


@pytest.mark.parametrize("size", [0, 1, 15, 100, 128, 1001 * 128 - 1])
def test_a_sidecar_that_was_cut_off_has_the_entries_that_are_left(tmp_path, size):
    raw = RawBuffer(tmp_path / "JF", ["M00"])
    raw.put("M00", 0)
    raw.put("M00", 999)
    path = raw.meta("M00", 0)
    os.truncate(path, size)
    flags = read_sidecar(path)["flags"]
    assert flags.nonzero()[0].tolist() == ([0, 999] if size > 1000 * 128 else [])


def test_a_fifo_of_that_name_does_not_hold_the_reader(tmp_path):
    os.mkfifo(tmp_path / "0.meta")
    with pytest.raises(OSError, match="Illegal seek"):
        read_sidecar(tmp_path / "0.meta")
