import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from detectors.errors import WireError
from detectors.wire.result_message import ResultHead, decode_result, encode_result

HEAD = ResultHead("sum", "total", 12, 1 << 60, 1_700_000_000_123_456_789, "JF")
TYPES = st.sampled_from(["<i8", "<u8", ">u4", "<f4", "<f8", "<c16", "?", "u1"])


@given(TYPES.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=4, min_side=0))))
def test_a_result_comes_back_as_it_was(value):
    head, found = decode_result(encode_result(HEAD, value))
    assert head == HEAD
    assert found.dtype == value.dtype.newbyteorder("<")
    assert found.shape == value.shape
    assert found.tobytes() == value.astype(value.dtype.newbyteorder("<")).tobytes()
    assert not found.flags.writeable


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([b"{}"], "found 1 parts"),
        ([b"{", b""], "damaged"),
        ([b"[]", b""], "damaged"),
        ([b'{"htype": "array-1.0"}', b""], "found the type 'array-1.0'"),
        ([b'{"htype": "result-1.0", "dtype": "int64", "shape": [2]}', b"1234567"], "damaged"),
        ([b'{"htype": "result-1.0", "dtype": "int64", "shape": [2]}', bytes(16)], "damaged: 'name'"),
        ([b'{"htype": "result-1.0", "dtype": "int64", "shape": [3]}', bytes(16)], "damaged"),
        ([b'{"htype": "result-1.0", "dtype": "object", "shape": [2]}', bytes(16)], "dtype object"),
    ],
)
def test_what_is_no_result_is_refused(parts, reason):
    with pytest.raises(WireError, match=reason):
        decode_result(parts)


@given(st.lists(st.binary(), max_size=3))
def test_other_bytes_are_refused(parts):
    with pytest.raises(WireError):
        decode_result(parts)
