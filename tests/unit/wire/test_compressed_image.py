import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detectors.wire.bslz4 import Bslz4Encoder, encode_bslz4
from detectors.wire.compressed_image import chunk_start, copy_image, put_header, slot_room

HEADER = b'{"pulse_id":5}'


def slot_with(image: np.ndarray) -> np.ndarray:
    slot = np.full(slot_room(image.size, image.itemsize), 7, np.uint8)
    put_header(slot, HEADER, Bslz4Encoder().encode_into(image, slot[chunk_start(HEADER) :]), 12)
    return slot


@given(st.integers(1, 5000), st.integers(0, 255))
def test_what_is_put_into_a_slot_is_found_in_it(pixels: int, most: int) -> None:
    image = np.random.default_rng(pixels).integers(0, most + 1, pixels).astype("<u2")
    found = copy_image(slot_with(image))
    assert found is not None
    assert (found.made_ns, found.header) == (12, HEADER)
    assert found.chunk.tobytes() == bytes(encode_bslz4(image))
    out = np.zeros(found.chunk.nbytes, np.uint8)
    again = copy_image(slot_with(image), out)
    assert again is not None
    assert np.shares_memory(again.chunk, out)
    assert copy_image(slot_with(image), out[:-1]) is None


@given(st.lists(st.integers(0, 2**64 - 1), min_size=3, max_size=3))
def test_lengths_that_do_not_fit_are_not_used(lengths: list[int]) -> None:
    slot = np.zeros(5000, np.uint8)
    slot[:24] = np.array(lengths, "<u8").view(np.uint8)
    found = copy_image(slot)
    assert found is None or len(found.header) + found.chunk.nbytes <= slot.nbytes
