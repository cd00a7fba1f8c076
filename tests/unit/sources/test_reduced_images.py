import numpy as np
import pytest

from detectors.errors import WireError
from detectors.image_head import ImageHead
from detectors.parts import PartPlace
from detectors.pixels import FrameLayout
from detectors.sources.reduced_images import ReducedImages
from detectors.wire.array10 import NO_DATA, ImageHeader, encode_header

PLACE = PartPlace((1, 3), 4)
LAYOUT = FrameLayout((4, 3), "uint16")


def part(heads: int = 8, queue: int = 2) -> ReducedImages:
    return ReducedImages(PLACE, LAYOUT, heads=heads, queue=queue, messages=100)


def message(pulse_id: int, number: int, *, place: PartPlace | None = PLACE, pixels: bool = True) -> list[memoryview]:
    header = ImageHeader(ImageHead(pulse_id, present=0b1010), "D", "uint16", LAYOUT.shape, part=place, number=number)
    data = np.full(LAYOUT.shape, pulse_id, np.uint16).tobytes() if pixels else NO_DATA
    return [memoryview(encode_header(header, with_data=pixels)), memoryview(data)]


def test_images_are_kept_until_they_are_taken():
    images = part()
    assert [images.put(message(7, 1)), images.put(message(8, 2, pixels=False)), images.put(message(9, 3))] == [7, 8, 9]
    head, pixels = images.take(8)
    assert head is not None
    assert (head.pulse_id, pixels) == (8, None)
    assert images.take(7) == (None, None)  # older than one that was taken
    head, pixels = images.take(9)
    assert (pixels == 9).all()
    assert images.take(9) == (None, None)


def test_memory_is_bounded_in_heads_and_in_pixels():
    images = part(heads=4, queue=2)
    for n in range(1, 11):
        images.put(message(n, n))
    found = [images.take(n) for n in range(1, 11)]
    assert [head is not None for head, _ in found] == [False] * 6 + [True] * 4
    assert [pixels is not None for _, pixels in found] == [False] * 8 + [True] * 2


def test_images_that_did_not_come_are_counted_by_their_numbers():
    images = part()
    for pulse_id, number in ((10, 5), (11, 6), (14, 9), (15, 10)):
        images.put(message(pulse_id, number))
    assert images.lost == 2
    images.put(message(16, 1))  # its host has started anew
    images.put(message(18, 3))
    assert images.lost == 3
    images.close()
    images.put(message(99, 90))  # what was sent while nobody subscribed is not lost
    assert images.lost == 3


@pytest.mark.parametrize("place", [None, PartPlace((1, 2), 4), PartPlace((1, 3), 4, 1)])
def test_an_image_of_another_place_is_refused(place):
    with pytest.raises(WireError, match="give all hosts the same configuration"):
        part().put(message(7, 1, place=place))


def test_an_image_of_another_shape_is_refused():
    other = ReducedImages(PLACE, FrameLayout((3, 3), "uint16"), heads=8, queue=2, messages=9)
    with pytest.raises(WireError, match=r"found \[4, 3\] uint16, expected \[3, 3\] uint16"):
        other.put(message(7, 1))


def test_of_whole_images_those_without_pixels_can_be_left_out():
    images = ReducedImages(PLACE, LAYOUT, heads=8, queue=1, messages=9, whole=True, pixels_only=True)
    images.problem = "nothing yet"
    found = [images.put(message(n, 0, place=None, pixels=n % 2 == 0)) for n in range(1, 5)]
    assert (found, images.problem, images.lost) == ([None, 2, None, 4], "", 0)
    with pytest.raises(WireError, match="give all hosts the same configuration"):
        images.put(message(7, 1))
    assert images.take(2)[1] is None  # only the newest pixels are kept
    assert images.take(4)[1] is not None
