import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.errors import WireError
from detectors.sources.codecs import decode
from detectors.wire.ntndarray import ArrayHead
from tests.support.compress import compress
from tests.support.images import image

CODECS = ["blosc", "lz4", "lz4+h5", "bslz4", "bslz4+h5", "zlib"]


def head_of(pixels: np.ndarray, codec: str) -> ArrayHead:
    return ArrayHead(pixels.shape, pixels.dtype, pixels.nbytes, codec.partition("+")[0])


def decoded(codec: str, blob: np.ndarray, head: ArrayHead) -> np.ndarray:
    out = np.full(head.nbytes + 16, 0xA5, np.uint8)
    decode(head.codec, blob, out[: head.nbytes], head)
    assert (out[head.nbytes :] == 0xA5).all(), f"{codec} wrote beyond its memory"
    return out[: head.nbytes].view(head.dtype).reshape(head.shape)


@given(
    st.sampled_from(CODECS),
    st.sampled_from(["uint8", "int16", "uint16", "float32", "int64"]),
    st.lists(st.integers(1, 90), min_size=1, max_size=3),
    st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_what_was_compressed_comes_back(codec: str, dtype: str, shape: list[int], seed: int) -> None:
    pixels = image(dtype, shape, seed) if seed % 2 else np.full(shape, seed, dtype)
    np.testing.assert_array_equal(decoded(codec, compress(codec, pixels)[0], head_of(pixels, codec)), pixels)


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)])
def test_jpeg(shape: tuple[int, ...]) -> None:
    pixels = (np.indices(shape).sum(0) * 2).astype(np.uint8)
    found = decoded("jpeg", compress("jpeg", pixels)[0], head_of(pixels, "jpeg"))
    assert np.abs(found.astype(int) - pixels).max() <= 12


@given(st.sampled_from([*CODECS, "jpeg"]), st.data())
@settings(max_examples=300, deadline=None)
def test_damage_is_a_wire_error_and_stays_in_its_memory(codec: str, data: st.DataObject) -> None:
    pixels = image("uint8" if codec == "jpeg" else "uint16", (33, 45), 5)
    if data.draw(st.booleans()):
        pixels = pixels // 16
    blob = compress(codec, pixels)[0].copy()
    if data.draw(st.booleans()):
        blob = blob[: data.draw(st.integers(0, blob.size))]
    for _ in range(data.draw(st.integers(0, 6))):
        if blob.size:
            blob[data.draw(st.integers(0, min(40, blob.size) - 1) | st.integers(0, blob.size - 1))] = data.draw(
                st.integers(0, 255)
            )
    with contextlib.suppress(WireError):
        decoded(codec, blob, head_of(pixels, codec))


@pytest.mark.parametrize("codec", [*CODECS, "jpeg"])
@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
def test_truncation_is_always_noticed(codec: str, keep: float) -> None:
    pixels = image("uint8" if codec == "jpeg" else "uint16", (33, 45), 5)
    blob = compress(codec, pixels)[0]
    blob = blob[: int(blob.size * keep) if isinstance(keep, float) else keep]
    with pytest.raises(WireError):
        decoded(codec, blob, head_of(pixels, codec))


@pytest.mark.parametrize("codec", [*CODECS, "jpeg"])
@pytest.mark.parametrize("rows", [20, 40])
def test_another_size_is_always_noticed(codec: str, rows: int) -> None:
    pixels = image("uint8" if codec == "jpeg" else "uint16", (33, 45), 5)
    other = np.zeros((rows, 45), pixels.dtype)
    with pytest.raises(WireError):
        decoded(codec, compress(codec, pixels)[0], head_of(other, codec))


def test_unknown_codecs() -> None:
    head = ArrayHead((4,), np.dtype(np.uint8), 4, "quantum")
    with pytest.raises(WireError, match="quantum"):
        decoded("quantum", np.zeros(4, np.uint8), head)


@pytest.mark.parametrize("block", [0, 3, 12, 1 << 30])
def test_bslz4_block_sizes_in_the_chunk_header(block: int) -> None:
    pixels = image("uint16", (33, 45), 5)
    blob = compress("bslz4", pixels)[0]
    chunk = np.frombuffer(struct.pack(">QI", pixels.nbytes, block) + blob.tobytes(), np.uint8)
    if block == 0:
        np.testing.assert_array_equal(decoded("bslz4", chunk, head_of(pixels, "bslz4")), pixels)
    else:
        with pytest.raises(WireError):
            decoded("bslz4", chunk, head_of(pixels, "bslz4"))
