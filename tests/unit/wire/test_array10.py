import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import WireError
from detectors.image_head import ImageHead
from detectors.parts import PartPlace
from detectors.pixels import PIXEL_TYPES
from detectors.wire.array10 import NO_DATA, ImageHeader, decode_header, decode_image, encode_header
from detectors.wire.bslz4 import CHUNK_HEADER, Bslz4Encoder, chunk_bound, encode_bslz4
from tests.support.stock_bslz4 import read_chunk

HEADER = ImageHeader(
    ImageHead(12_345_999, 7, daq_rec=3, is_good_frame=True, present=3, timestamp_ns=12, damage=2),
    detector_name="JF01",
    dtype="uint16",
    shape=(4, 3),
    pedestal_file="/p.h5",
    gain_file="/g.h5",
)

headers = st.builds(
    ImageHeader,
    head=st.builds(
        ImageHead, *[st.integers(0, 2**64 - 1)] * 3, st.booleans(), *[st.integers(0, 2**63)] * 4, st.just(())
    ),
    detector_name=st.text(max_size=20),
    dtype=st.sampled_from(PIXEL_TYPES),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    pedestal_file=st.text(max_size=20),
    gain_file=st.text(max_size=20),
)

COMPRESSED = replace(HEADER, shape=(19, 331), compression="bslz4")
PIXELS = np.random.default_rng(3).poisson(2, COMPRESSED.shape).astype("<u2")

PLACE = PartPlace((1, 3), 4, 514, 0)
"""Of the part in the second half of an image."""


def test_the_header_has_exactly_the_documented_keys():
    assert json.loads(encode_header(HEADER)) == {
        "pulse_id": 12_345_999,
        "frame": 7,
        "is_good_frame": True,
        "daq_rec": 3,
        "pedestal_file": "/p.h5",
        "gain_file": "/g.h5",
        "detector_name": "JF01",
        "htype": "array-1.0",
        "type": "uint16",
        "shape": [4, 3],
        "present": 3,
        "timestamp_ns": 12,
        "packets_missing": 0,
        "damage": 2,
    }


def test_the_header_of_a_part_has_its_place_and_its_number_besides():
    header = replace(HEADER, part=PLACE, number=9)
    tree = json.loads(encode_header(header))
    more = {"modules": [1, 3], "of_modules": 4, "row": 514, "column": 0, "number": 9}
    assert tree == json.loads(encode_header(HEADER)) | more
    assert decode_header(encode_header(header)) == header
    assert decode_header(json.dumps(tree | {"number": 10}).encode()).number == 10
    del tree["row"]  # it is no part then, whatever else another sender means by these keys
    assert decode_header(json.dumps(tree | {"modules": "all"}).encode()) == HEADER


def test_our_own_keys_may_be_left_out():
    tree = json.loads(encode_header(HEADER))
    for key in ("present", "timestamp_ns", "packets_missing", "damage"):
        del tree[key]
    assert decode_header(json.dumps(tree).encode()).head == ImageHead(*HEADER.head[:4])


@pytest.mark.parametrize("dtype", ["uint16", "float64"])
def test_a_header_without_data_announces_two_by_two_and_eight_bytes(dtype):
    header = ImageHeader(**{name: getattr(HEADER, name) for name in HEADER.__slots__} | {"dtype": dtype})
    text = encode_header(header, with_data=False)
    assert json.loads(text)["shape"] == [2, 2]
    assert bytes(8) == NO_DATA
    # A consumer that knows nothing of placeholders must be able to read it as the image that it announces.
    assert np.frombuffer(NO_DATA, json.loads(text)["type"]).reshape(2, 2).sum() == 0
    decoded, pixels = decode_image([text, NO_DATA])
    assert pixels is None
    assert (decoded.head.pulse_id, decoded.head.frame_index) == (HEADER.head.pulse_id, HEADER.head.frame_index)


@given(headers, st.randoms(use_true_random=False))
def test_what_is_encoded_comes_back(header, random):
    data = random.randbytes(header.data_bytes)
    decoded, pixels = decode_image([encode_header(header), data])
    assert decoded == header
    if pixels is None:
        assert data == NO_DATA
    else:
        assert pixels.tobytes() == data
        assert pixels.shape == header.shape
        assert not pixels.flags.writeable


@given(
    st.binary(max_size=200) | headers.map(encode_header).flatmap(lambda t: st.integers(0, len(t)).map(lambda n: t[:n]))
)
def test_any_bytes_give_a_header_or_a_wire_error(text):
    try:
        header = decode_header(text)
    except WireError:
        return
    assert decode_header(encode_header(header)) == header


@given(
    st.sampled_from(["pulse_id", "frame", "is_good_frame", "daq_rec", "detector_name", "htype", "type", "shape"]),
    st.none() | st.floats() | st.integers(-5, -1) | st.lists(st.integers(-3, 0), max_size=3) | st.just({}),
)
def test_a_wrong_value_is_a_wire_error_that_names_its_key(key, value):
    tree = json.loads(encode_header(HEADER)) | {key: value}
    with pytest.raises(WireError, match=f"{key}.*expected"):
        decode_header(json.dumps(tree).encode())


@pytest.mark.parametrize(
    ("key", "value"),
    [("present", -1), ("damage", "2"), ("modules", [3, 1]), ("modules", []), ("row", -1), ("number", None)],
)
def test_a_wrong_value_of_our_own_is_named_too(key, value):
    tree = json.loads(encode_header(replace(HEADER, part=PLACE, number=9))) | {key: value}
    with pytest.raises(WireError, match=f"{key}.*expected"):
        decode_header(json.dumps(tree).encode())


def test_a_missing_key_is_named():
    tree = json.loads(encode_header(HEADER))
    del tree["daq_rec"], tree["type"]
    with pytest.raises(WireError, match="no daq_rec, type in the header"):
        decode_header(json.dumps(tree).encode())


def test_zero_and_one_are_taken_for_booleans():
    tree = json.loads(encode_header(HEADER)) | {"is_good_frame": 0}
    assert decode_header(json.dumps(tree).encode()).head.is_good_frame is False


@pytest.mark.parametrize("parts", [[], [encode_header(HEADER)], [encode_header(HEADER), b"", b""]])
def test_the_number_of_parts_is_checked(parts):
    with pytest.raises(WireError, match="expected 2"):
        decode_image(parts)


@pytest.mark.parametrize("size", [0, 23, 25])
def test_the_size_of_the_data_is_checked(size):
    with pytest.raises(WireError, match=f"found {size} bytes of data, expected the 24"):
        decode_image([encode_header(HEADER), bytes(size)])


def test_compressed_pixels_come_back():
    chunk = encode_bslz4(PIXELS)
    assert chunk.nbytes < PIXELS.nbytes / 2
    text = encode_header(COMPRESSED)
    assert json.loads(text)["compression"] == "bslz4"
    header, pixels = decode_image([text, chunk])
    assert header == COMPRESSED
    assert pixels is not None
    np.testing.assert_array_equal(pixels, PIXELS)
    assert not pixels.flags.writeable
    np.testing.assert_array_equal(read_chunk(bytes(chunk), "<u2", PIXELS.shape), PIXELS)


@given(
    st.integers(1, 20_000),
    st.sampled_from(["uint8", "uint16", "uint32", "float64"]),
    st.integers(0, 2**32),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_stock_reader_undoes_the_compression(elements, dtype, seed, noise):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 20, elements).astype(dtype)
    first, last = sorted(int(share * elements) for share in noise)
    part = image[first:last]  # of random bits, which do not compress
    part.view(np.uint8)[:] = rng.integers(0, 256, part.nbytes, np.uint8)
    room = np.full(chunk_bound(elements, image.itemsize) + 5, 7, np.uint8)
    chunk = room[: Bslz4Encoder().encode_into(image, room)]
    assert chunk.data == encode_bslz4(image)
    assert (room[-5:] == 7).all()
    read = read_chunk(bytes(chunk), dtype, image.shape)
    assert read.tobytes() == image.tobytes()


def test_an_encoder_takes_images_of_any_size_one_after_another():
    encoder = Bslz4Encoder()
    for image in (PIXELS, PIXELS[:3], np.ones((512, 1024), np.uint32), PIXELS):
        assert encoder.encode(image) == encode_bslz4(image)


def test_a_header_without_data_is_not_compressed():
    text = encode_header(COMPRESSED, with_data=False)
    assert "compression" not in json.loads(text)
    assert decode_image([text, NO_DATA])[1] is None


def test_other_senders_may_say_that_nothing_is_compressed():
    tree = json.loads(encode_header(HEADER)) | {"compression": "none"}
    assert decode_header(json.dumps(tree).encode()) == HEADER


@given(st.data())
def test_a_damaged_chunk_is_a_wire_error_or_other_pixels(data):
    chunk = bytearray(encode_bslz4(PIXELS))
    at = data.draw(st.integers(0, len(chunk) - 1))
    chunk[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(chunk)) | st.just(len(chunk)))
    try:
        _, pixels = decode_image([encode_header(COMPRESSED), chunk[:cut]])
    except WireError:
        return
    assert pixels is not None
    assert pixels.shape == PIXELS.shape


@pytest.mark.parametrize("compression", ["blosc2", 3, None, ["bslz4"]])
def test_an_unknown_compression_is_a_wire_error(compression):
    tree = json.loads(encode_header(HEADER)) | {"compression": compression}
    with pytest.raises(WireError, match=r"compression .* expected one of none, bslz4"):
        decode_header(json.dumps(tree).encode())


def test_a_chunk_that_promises_more_than_it_can_hold_takes_no_memory():
    header = replace(COMPRESSED, shape=(1 << 30, 1 << 20))
    chunk = CHUNK_HEADER.pack(header.data_bytes, 8192) + bytes(100)
    with pytest.raises(WireError, match="at most"):
        decode_image([encode_header(header), chunk])
    with pytest.raises(WireError, match="at most 100"):
        decode_image([encode_header(COMPRESSED), encode_bslz4(PIXELS)], 100)
