import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import WireError
from detectors.wire.small_image import SmallImage, decode_small, encode_small


def test_an_image_comes_out_as_it_went_in():
    image = SmallImage(np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3], 2**63, 7, 1_700_000_000_000_000_005)
    found = decode_small(encode_small(image))
    assert (found.pixels == image.pixels).all()
    assert found.pixels.dtype == np.float32
    assert found[1:] == image[1:]


@given(st.binary(max_size=60))
def test_other_bytes_are_refused(message):
    with pytest.raises(WireError):
        decode_small(message)


def test_half_a_message_is_refused():
    message = encode_small(SmallImage(np.zeros((3, 4), np.uint16), 1, 1, 1))
    for end in range(len(message)):
        with pytest.raises(WireError):
            decode_small(message[:end])
