import shutil
import struct

import pytest

from detectors.buffer.binfile import BinFile
from detectors.buffer.checks import Checked, Inconsistency, check_buffer
from detectors.buffer.reader import BufferReader
from tests.unit.buffer.make import RawBuffer, pixels

BASE = 12_345_000
PULSES = (BASE, BASE + 2, BASE + 999, BASE + 1000)


@pytest.fixture
def raw(tmp_path) -> RawBuffer:
    """A sound buffer: two modules, two files."""
    return RawBuffer(tmp_path / "JF").fill(PULSES)


def found(raw: RawBuffer, **limits: int) -> list[Inconsistency]:
    return list(check_buffer(BufferReader(raw.folder), **limits))


def only(raw: RawBuffer) -> tuple[str, str, int | None]:
    """The one finding there is."""
    findings = found(raw)
    assert len(findings) == 1, findings
    return findings[0].check, findings[0].module, findings[0].pulse


def test_a_sound_buffer_has_no_findings(raw):
    checked = Checked()
    assert list(check_buffer(BufferReader(raw.folder), checked=checked)) == []
    assert checked == Checked(files=4, records=8)


def test_missing_packets_that_were_recorded_are_no_finding(raw):
    raw.put("M00", BASE + 2, packets=125, missing=bytes([0b111]))
    checked = Checked()
    assert list(check_buffer(BufferReader(raw.folder), checked=checked)) == []
    assert checked.incomplete == 1


def test_records_without_a_sidecar_are_counted(raw):
    raw.meta("M00", BASE).unlink()
    checked = Checked()
    assert list(check_buffer(BufferReader(raw.folder), checked=checked)) == []
    assert checked.unchecked == 3


def test_marker(raw):
    raw.poke(raw.path("M01", BASE), 2 * raw.record_bytes, b"\x42")
    findings = found(raw)
    assert [(f.check, f.module, f.pulse) for f in findings] == [
        ("marker", "M01", BASE + 2),
        ("agreement", "M01", BASE + 2),
    ]
    path = raw.path("M01", BASE)
    assert findings[0].message == (
        f"{path}: found marker 0x42 at byte {2 * raw.record_bytes}, expected 0xbe or, in a hole, 0x00"
    )


def test_pulse_id(raw):
    raw.poke(raw.path("M00", BASE), 2 * raw.record_bytes + 1, struct.pack("<Q", 77))
    assert only(raw) == ("pulse_id", "M00", BASE + 2)


def test_crc(raw):
    raw.poke(raw.path("M00", BASE), raw.record_bytes - 1, bytes([pixels(BASE, 0, raw.nbytes)[-1] ^ 1]))
    assert only(raw) == ("crc", "M00", BASE)


@pytest.mark.parametrize("packets", [127, 129])
def test_packets_against_the_mask(raw, packets):
    raw.put("M01", BASE + 999, packets=packets)
    assert only(raw) == ("packets", "M01", BASE + 999)


def test_packets_none_at_all(raw):
    for module in raw.modules:
        raw.meta(module, BASE).unlink()
    raw.put("M01", BASE + 999, packets=0, sidecar=False)
    assert only(raw) == ("packets", "M01", BASE + 999)


def test_size_and_truncated(raw):
    path = raw.path("M00", BASE)
    with path.open("r+b") as file:
        file.truncate(999 * raw.record_bytes + 100)
    findings = [(f.check, f.module, f.pulse) for f in found(raw)]
    assert findings == [
        ("size", "M00", None),
        ("truncated", "M00", BASE + 999),
        ("sidecar", "M00", BASE + 999),
        ("agreement", "M00", BASE + 999),
    ]


def test_closing_byte(raw):
    raw.poke(raw.path("M00", BASE), 1000 * raw.record_bytes, b"\0")
    assert only(raw) == ("closing_byte", "M00", None)


def test_a_sidecar_of_another_pulse(raw):
    raw.poke(raw.meta("M00", BASE), raw.entry_offset(BASE + 2), struct.pack("<Q", BASE + 3))
    assert only(raw) == ("sidecar", "M00", BASE + 2)


def test_a_sidecar_entry_without_its_record(raw):
    for module in raw.modules:
        raw.poke(raw.path(module, BASE), 2 * raw.record_bytes, b"\0")
    assert [(f.check, f.module, f.pulse) for f in found(raw)] == [
        ("sidecar", "M00", BASE + 2),
        ("sidecar", "M01", BASE + 2),
    ]


def test_module_id(raw):
    raw.poke(raw.path("M01", BASE), 2 * raw.record_bytes + 33, struct.pack("<Q", 5))
    assert only(raw) == ("module_id", "M01", BASE + 2)


def test_agreement_on_a_pulse(raw):
    raw.put("M01", BASE + 500)
    assert only(raw) == ("agreement", "M00", BASE + 500)


def test_agreement_on_a_file(raw):
    raw.put("M01", BASE + 5000)
    assert only(raw) == ("agreement", "M00", None)


@pytest.mark.parametrize("place", [9, 17])
def test_trigger(raw, place):
    raw.poke(raw.path("M01", BASE), 2 * raw.record_bytes + place, struct.pack("<Q", 5))
    assert only(raw) == ("trigger", "M01", BASE + 2)


def test_latest(raw):
    (raw.folder / "M01" / "LATEST").write_text("0/0.bin\n")
    assert only(raw) == ("latest", "M01", None)


def test_name(raw):
    raw.path("M01", BASE).with_name("12345001.bin").write_bytes(b"")
    raw.path("M01", BASE).with_name("copy.bin").write_bytes(b"")
    assert [(f.check, f.module) for f in found(raw)] == [("name", "M01")] * 2


def test_readable(raw):
    with raw.path("M01", BASE).open("ab") as file:
        file.write(b"more")
    assert only(raw) == ("readable", "M01", None)


def test_the_range_limits_what_is_looked_at(raw):
    for pulse_id in PULSES:
        raw.poke(raw.path("M00", pulse_id), pulse_id % 1000 * raw.record_bytes + 41, b"\xaa\xbb\xcc\xdd")
    assert [f.pulse for f in found(raw)] == list(PULSES)
    assert [f.pulse for f in found(raw, start=BASE + 2, stop=BASE + 999)] == [BASE + 2, BASE + 999]
    assert [f.pulse for f in found(raw, start=BASE + 1000)] == [BASE + 1000]
    assert found(raw, start=BASE + 3, stop=BASE + 998) == []


def test_an_empty_file_is_cut_off_and_holds_nothing(raw):
    path = raw.path("M00", BASE)
    path.write_bytes(b"")
    file = BinFile(path, BufferReader(raw.folder).info.record)
    assert (file.whole_records, file.closing_byte, file.holds(0)) == (0, None, False)
    assert not file.headers()["marker"].any()
    with pytest.raises(IndexError):
        file.header(0)


def test_a_module_without_folder_or_files_is_a_finding(raw):
    shutil.rmtree(raw.folder / "M01")
    findings = [f for f in found(raw) if f.check != "agreement"]
    assert [(f.check, f.module) for f in findings] == [("records", "M01")]
    assert "M01: is not there" in findings[0].message
    shutil.rmtree(raw.folder / "M00")
    for module in raw.modules:
        (raw.folder / module).mkdir()
    assert [(f.check, f.module) for f in found(raw)] == [("records", "M00"), ("records", "M01")]


@pytest.mark.parametrize("name", ["M01", "M01/12300000"])
def test_a_folder_that_cannot_be_read_is_a_finding_and_the_others_are_checked(raw, name):
    raw.poke(raw.path("M00", BASE), 2 * raw.record_bytes, b"\x42")
    shutil.rmtree(raw.folder / name)
    (raw.folder / name).symlink_to(name.rsplit("/", maxsplit=1)[-1])  # to itself
    findings = [f for f in found(raw) if f.check != "agreement"]
    assert [(f.check, f.module) for f in findings] == [("readable", "M01"), ("marker", "M00")]
    assert findings[0].message == f"{raw.folder / name}: cannot be read: Too many levels of symbolic links"


@pytest.mark.parametrize("suffix", [".bin", ".meta"])
def test_a_file_that_leads_nowhere_or_is_a_folder_is_a_finding(raw, suffix):
    path = raw.path("M00", BASE).with_suffix(suffix)
    path.unlink()
    path.mkdir()
    message = "it is not a regular file" if suffix == ".bin" else "Is a directory"
    assert found(raw) == [Inconsistency("readable", "M00", None, f"{path}: cannot be read: {message}"), *found(raw)[1:]]
    path.rmdir()
    path.symlink_to("nowhere")
    assert ("readable" in [f.check for f in found(raw)]) == (suffix == ".bin")


@pytest.mark.parametrize("text", [b"\xff\xfe\0", b"a" * 100_000, b"/etc/passwd", b"../../../etc/passwd"])
def test_latest_that_names_no_data_file_is_one_short_line(raw, text):
    (raw.folder / "M01" / "LATEST").write_bytes(text)
    assert only(raw) == ("latest", "M01", None)
    assert len(found(raw)[0].message) < 500


def test_latest_that_cannot_be_read_is_a_finding(raw):
    (raw.folder / "M01" / "LATEST").mkdir()
    assert only(raw) == ("latest", "M01", None)
    (raw.folder / "M01" / "LATEST").rmdir()
    (raw.folder / "M01" / "LATEST").write_bytes(b"a" * (2 << 20))
    assert only(raw) == ("latest", "M01", None)


def test_a_buffer_of_holes_is_a_finding(raw):
    for module in raw.modules:
        for pulse_id in PULSES:
            raw.poke(raw.path(module, pulse_id), pulse_id % 1000 * raw.record_bytes, b"\0")
            raw.meta(module, pulse_id).unlink(missing_ok=True)
    checked = Checked()
    (finding,) = check_buffer(BufferReader(raw.folder), checked=checked)
    assert (finding.check, finding.module, checked.files, checked.findings) == ("records", "", 4, 1)
