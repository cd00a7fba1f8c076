import numpy as np
import pytest

from detectors.assembly.images import ImageAssembler, ImageNames
from detectors.assembly.sync import Matched
from detectors.frame import FrameHead, RecordShape
from detectors.image_head import ImageHead
from detectors.mosaic import Chips, ModulePlace, Mosaic
from detectors.pixels import FrameLayout
from detectors.pools.pebble import Pebble
from detectors.pools.pebble_reader import PebbleReader
from detectors.pools.segment import least_slot_bytes
from sim.pattern import frame_pattern, stored_pattern

SHAPE = (6, 8)
LAYOUT = FrameLayout(SHAPE, "uint16")
NAMES = ImageNames("JF", "/pede.h5", "/gain.h5")


@pytest.fixture
def modules(tmp_path):
    """Three modules' pebbles, of 4 slots, and readers of them."""
    shape = RecordShape(LAYOUT.data_bytes)
    pebbles = [Pebble(tmp_path / f"m{m}", shape, count=4, slot_bytes=least_slot_bytes(shape)) for m in range(3)]
    readers = [PebbleReader(tmp_path / f"m{m}") for m in range(3)]
    yield pebbles, readers
    for item in (*readers, *pebbles):
        item.close()


def put(pebble: Pebble, pulse_id: int, module: int, *, packets=4, daq_rec=3) -> None:
    loan = pebble.claim(pulse_id)
    loan.data[:] = frame_pattern(pulse_id, module, SHAPE, "uint16").reshape(-1).view(np.uint8)
    loan.freeze(FrameHead(pulse_id, pulse_id * 10, daq_rec, packets, module, expected_packets=4)).close()


def test_frames_lie_one_below_the_other(modules):
    pebbles, readers = modules
    for m, pebble in enumerate(pebbles):
        put(pebble, 7, m)
    assembler = ImageAssembler(LAYOUT, readers, NAMES)
    out = np.full(assembler.image_bytes, 0xEE, np.uint8)
    header = assembler.assemble(Matched(7, 0b111), out)
    assert header is not None
    assert header.head == ImageHead(7, 70, 3, True, 0b111)
    assert (header.detector_name, header.pedestal_file, header.gain_file) == ("JF", "/pede.h5", "/gain.h5")
    assert (header.shape, header.dtype) == ((18, 8), "uint16")
    expected = np.concatenate([frame_pattern(7, m, SHAPE, "uint16") for m in range(3)])
    np.testing.assert_array_equal(out.view("<u2").reshape(header.shape), expected)


def test_a_missing_module_is_zero_and_the_image_not_good(modules):
    pebbles, readers = modules
    put(pebbles[0], 7, 0)
    put(pebbles[2], 7, 2)
    assembler = ImageAssembler(LAYOUT, readers, NAMES)
    out = np.full(assembler.image_bytes, 0xEE, np.uint8)
    header = assembler.assemble(Matched(7, 0b101), out)
    assert header is not None
    nothing = b"\x0f" + bytes(63)
    masks = (bytes(64), nothing, bytes(64))
    assert header.head == ImageHead(7, 70, 3, False, 0b101, packets_missing=4, missing=masks)
    image = out.view("<u2").reshape(header.shape)
    assert not image[6:12].any()
    np.testing.assert_array_equal(image[12:], frame_pattern(7, 2, SHAPE, "uint16"))


@pytest.mark.parametrize("out", [None, np.zeros(3 * LAYOUT.data_bytes, np.uint8)])
def test_an_overwritten_frame_gives_no_image(modules, out):
    pebbles, readers = modules
    for m, pebble in enumerate(pebbles):
        put(pebble, 7, m)
    put(pebbles[1], 11, 1)  # the same slot, four pulses later
    assembler = ImageAssembler(LAYOUT, readers, NAMES)
    assert assembler.assemble(Matched(7, 0b111), out) is None
    assert readers[1].overwritten == 1


def test_a_frame_overwritten_while_others_are_copied_gives_no_image(modules, monkeypatch):
    pebbles, readers = modules
    for m, pebble in enumerate(pebbles):
        put(pebble, 7, m)
    assembler = ImageAssembler(LAYOUT, readers, NAMES)
    copy = np.copyto

    def overwriting(to: np.ndarray, source: np.ndarray) -> None:
        monkeypatch.undo()
        copy(to, source)
        put(pebbles[2], 11, 2)

    monkeypatch.setattr(np, "copyto", overwriting)
    assert assembler.assemble(Matched(7, 0b111), np.zeros(assembler.image_bytes, np.uint8)) is None
    assert [reader.overwritten for reader in readers] == [0, 0, 1]


def test_frames_of_another_size_give_no_image(modules):
    pebbles, readers = modules
    for m, pebble in enumerate(pebbles):
        put(pebble, 7, m)
    assembler = ImageAssembler(FrameLayout((3, 8), "uint16"), readers, NAMES)
    assert assembler.assemble(Matched(7, 0b111), np.zeros(assembler.image_bytes, np.uint8)) is None


def test_modules_of_different_recordings_make_no_good_image(modules):
    pebbles, readers = modules
    for m, pebble in enumerate(pebbles):
        put(pebble, 7, m, daq_rec=4 if m == 2 else 3)
    header = ImageAssembler(LAYOUT, readers, NAMES).assemble(Matched(7, 0b111), None)
    assert header is not None
    assert header.head == ImageHead(7, 70, 3, False, 0b111)


def test_without_memory_only_the_header_is_made(modules):
    pebbles, readers = modules
    for m, pebble in enumerate(pebbles):
        put(pebble, 7, m, packets=3 if m == 1 else 4)
    header = ImageAssembler(LAYOUT, readers, NAMES).assemble(Matched(7, 0b111), None)
    assert header is not None
    assert not header.head.is_good_frame


@pytest.mark.parametrize("dtype", ["uint12p", "uint4"])
def test_packed_pixels_are_unpacked(tmp_path, dtype):
    layout = FrameLayout(SHAPE, dtype)
    shape = RecordShape(layout.data_bytes)
    pebbles = [Pebble(tmp_path / f"m{m}", shape, count=4, slot_bytes=least_slot_bytes(shape)) for m in range(2)]
    readers = [PebbleReader(tmp_path / f"m{m}") for m in range(2)]
    loan = pebbles[1].claim(7)
    loan.data[:] = stored_pattern(7, 1, layout)
    loan.freeze(FrameHead(7, 70, 3, 1, 1)).close()
    assembler = ImageAssembler(layout, readers, NAMES)
    out = np.full(assembler.image_bytes, 0xEE, np.uint8)
    header = assembler.assemble(Matched(7, 0b10), out)
    assert header is not None
    assert (header.shape, header.dtype, header.data_bytes) == ((12, 8), layout.pixel_type.name, out.nbytes)
    image = out.view(layout.pixel_type).reshape(header.shape)
    assert not image[:6].any()
    np.testing.assert_array_equal(image[6:], frame_pattern(7, 1, SHAPE, dtype))
    for item in (*readers, *pebbles):
        item.close()


@pytest.mark.parametrize("present", [0b111, 0b101])
def test_frames_lie_at_their_places(modules, present):
    pebbles, readers = modules
    for m, pebble in enumerate(pebbles):
        put(pebble, 7, m)
    chips = Chips(3, 4, 1)
    places = [ModulePlace(10, 0, "rows", 0, chips), ModulePlace(0, 0, chips=chips), ModulePlace(0, 10, chips=chips)]
    mosaic = Mosaic(LAYOUT, places, 9)
    assembler = ImageAssembler(LAYOUT, readers, NAMES, mosaic)
    out = np.full(assembler.image_bytes, 0xEE, np.uint8)
    header = assembler.assemble(Matched(7, present), out)
    assert header is not None
    assert (header.shape, header.dtype, header.head.present) == ((17, 19), "uint16", present)
    expected = np.full((17, 19), 9, np.uint16)
    for m in range(3):
        mosaic.put(expected, m, frame_pattern(7, m, SHAPE, "uint16") if present >> m & 1 else None)
    np.testing.assert_array_equal(out.view("<u2").reshape(header.shape), expected)
    np.testing.assert_array_equal(expected[10:13, :4], frame_pattern(7, 0, SHAPE, "uint16")[:2:-1, :4])
