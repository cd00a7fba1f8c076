from dataclasses import replace

import numpy as np
import pytest

from detectors.assembly.images import ImageAssembler, ImageNames
from detectors.assembly.joined import JoinedAssembler
from detectors.assembly.sync import Matched
from detectors.frame import FrameHead
from detectors.image_head import ImageHead
from detectors.mosaic import Chips, ModulePlace, Mosaic
from detectors.parts import PartPlace
from detectors.pixels import FrameLayout
from detectors.pools.pebble_reader import FoundFrame

LAYOUT = FrameLayout((4, 6), "uint16")
CHIPS = Chips(2, 3, 1)
NAMES = ImageNames("D", "/p", "/g")
PLACES = [
    ModulePlace(0, 0, chips=CHIPS),
    ModulePlace(8, 9, "rows", 90, CHIPS),
    ModulePlace(0, 9, "columns", chips=CHIPS),
    ModulePlace(8, 1, chips=CHIPS),
]
PARTS = ((0, 3), (1, 2))
"""Modules of two hosts, which lie between one another."""


class Module:
    """A module with one frame; ``missing`` packets of it."""

    def __init__(self, number: int, missing: int = 0) -> None:
        self._head = FrameHead(7, 70, 1, 4 - missing, number, timestamp_ns=1000 + number, expected_packets=4)
        self._pixels = np.arange(24, dtype=np.uint16).reshape(4, 6) + 100 * (number + 1)

    def find(self, pulse_id: int) -> FoundFrame | None:
        return FoundFrame(self._head, LAYOUT.store(self._pixels))

    def check(self, frame: FoundFrame) -> bool:
        return True


class Part:
    """A part that was assembled of its modules on its host."""

    def __init__(self, modules: tuple[int, ...], readers: list[Module], mosaic: Mosaic | None) -> None:
        row, column = mosaic.corner(modules) if mosaic else (0, 0)
        self.place = PartPlace(modules, len(readers), row, column)
        own = mosaic.part(modules) if mosaic else None
        assembler = ImageAssembler(LAYOUT, [readers[m] for m in modules], NAMES, own)
        pixels = np.zeros(assembler.image_bytes, np.uint8)
        header = assembler.assemble(Matched(7, 0b11), pixels)
        assert header is not None
        self.head: ImageHead | None = header.head._replace(present=sum(1 << m for m in modules))
        self.pixels: np.ndarray | None = pixels.view(np.uint16).reshape(assembler.shape)

    def take(self, pulse_id: int) -> tuple[ImageHead | None, np.ndarray | None]:
        return (self.head, self.pixels) if pulse_id == 7 else (None, None)


@pytest.fixture(params=[None, 5], ids=["stack", "geometry"])
def mosaic(request: pytest.FixtureRequest) -> Mosaic | None:
    return None if request.param is None else Mosaic(LAYOUT, PLACES, request.param)


@pytest.fixture
def modules() -> list[Module]:
    return [Module(m) for m in range(4)]


def whole(modules: list[Module], mosaic: Mosaic | None, present: int = 0b1111) -> tuple[ImageHead, np.ndarray]:
    """The image as one host with all modules makes it."""
    assembler = ImageAssembler(LAYOUT, modules, NAMES, mosaic)
    out = np.full(assembler.image_bytes, 0xEE, np.uint8)
    header = assembler.assemble(Matched(7, present), out)
    assert header is not None
    return header.head, out.view(np.uint16).reshape(assembler.shape)


def joined(parts: list[Part], mosaic: Mosaic | None) -> JoinedAssembler:
    return JoinedAssembler(LAYOUT, parts, NAMES, packets=4, mosaic=mosaic)


def test_the_parts_make_the_image_that_one_host_would_make(modules, mosaic):
    modules[2] = Module(2, missing=1)
    assembler = joined([Part(own, modules, mosaic) for own in PARTS], mosaic)
    out = np.full(assembler.image_bytes, 0xEE, np.uint8)
    header = assembler.assemble(Matched(7, 0b11), out)
    head, image = whole(modules, mosaic)
    assert header is not None
    assert header.head == head._replace(missing=())
    assert (header.detector_name, header.pedestal_file, header.gain_file) == ("D", "/p", "/g")
    assert (header.shape, header.dtype) == (image.shape, "uint16")
    np.testing.assert_array_equal(out.view(np.uint16).reshape(assembler.shape), image)


def test_the_modules_of_a_part_that_is_missing_are_zero(modules, mosaic):
    assembler = joined([Part(own, modules, mosaic) for own in PARTS], mosaic)
    out = np.full(assembler.image_bytes, 0xEE, np.uint8)
    header = assembler.assemble(Matched(7, 0b01), out)
    head, image = whole(modules, mosaic, present=0b1001)
    assert header is not None
    assert header.head == head._replace(missing=())
    np.testing.assert_array_equal(out.view(np.uint16).reshape(assembler.shape), image)


def test_parts_whose_head_or_pixels_are_gone_make_no_image(modules):
    parts = [Part(own, modules, None) for own in PARTS]
    assembler = joined(parts, None)
    out = np.empty(assembler.image_bytes, np.uint8)
    assert assembler.assemble(Matched(8, 0b11), None) is None
    parts[1].pixels = None
    assert assembler.assemble(Matched(7, 0b11), out) is None
    assert assembler.assemble(Matched(7, 0b11), None) is not None  # without pixels it is one


def test_parts_of_different_triggers_make_no_good_image(modules):
    parts = [Part(own, modules, None) for own in PARTS]
    header = joined(parts, None).assemble(Matched(7, 0b11), None)
    assert header is not None
    assert header.head.is_good_frame
    assert parts[1].head is not None
    parts[1].head = parts[1].head._replace(frame_index=71)
    assert joined(parts, None).assemble(Matched(7, 0b11), None) == replace(
        header, head=header.head._replace(is_good_frame=False)
    )
