import imagecodecs
import numpy as np
import pytest

from detectors.errors import ConfigError
from detectors.sources.codecs import decode
from detectors.wire.encode import encode
from detectors.wire.ntndarray import ArrayHead
from sim.pattern import check_frame, frame_pattern

SHAPE = (37, 53)


@pytest.mark.parametrize("codec", ["blosc", "lz4", "bslz4", "zlib"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float64"])
def test_what_is_encoded_decodes_to_the_same(codec, dtype):
    image = frame_pattern(3, 1, SHAPE, dtype)
    blob = encode(codec, image)
    out = np.zeros(image.nbytes, np.uint8)
    decode(codec, blob, out, ArrayHead(SHAPE, np.dtype(dtype), image.nbytes, codec))
    assert check_frame(out, 3, 1, SHAPE, dtype)


def test_jpeg_is_an_image_of_that_shape():
    assert imagecodecs.jpeg8_decode(encode("jpeg", frame_pattern(1, 0, SHAPE, "uint8"))).shape == SHAPE


@pytest.mark.parametrize(("codec", "dtype"), [("jpeg", "uint16"), ("gzip", "uint8")])
def test_what_cannot_be_encoded_is_refused(codec, dtype):
    with pytest.raises(ConfigError, match="found"):
        encode(codec, frame_pattern(1, 0, SHAPE, dtype))
