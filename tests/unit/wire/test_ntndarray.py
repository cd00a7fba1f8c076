import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import WireError
from detectors.wire.ntndarray import (
    CODEC_DTYPES,
    MAX_TIMESTAMP_NS,
    ArrayHeads,
    array_head,
    array_shape,
    attributes,
    ca_timestamp_ns,
    timestamp_ns,
)

U16 = np.dtype(np.uint16)


def dims(*sizes: int) -> list[dict]:
    return [{"size": n} for n in sizes]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_the_fastest_dimension_comes_first_on_the_wire(sizes: list[int]) -> None:
    nbytes = 2 * math.prod(sizes)
    assert array_shape(dims(*sizes), nbytes, U16) == tuple(reversed(sizes))
    with pytest.raises(WireError, match="dimensions"):
        array_shape(dims(*sizes), nbytes + 2, U16)


def test_without_dimensions_an_array_is_flat() -> None:
    assert array_shape([], 10, U16) == (5,)
    with pytest.raises(WireError):
        array_shape([], 11, U16)


@pytest.mark.parametrize("bad", [[None], [{"size": None}], [{}], dims(-2, -3), dims(*[1] * 11)])
def test_bad_dimensions(bad: list) -> None:
    with pytest.raises(WireError):
        array_shape(bad, 12, U16)


@pytest.mark.parametrize("number", range(11))
def test_codec_parameters_name_the_type(number: int) -> None:
    dtype = CODEC_DTYPES[number]
    meta = {
        "codec": {"name": "lz4", "parameters": number},
        "uncompressedSize": 6 * dtype.itemsize,
        "dimension": dims(3, 2),
        "uniqueId": 4,
    }
    head = array_head(meta, np.dtype(np.uint8), 17)
    assert (head.dtype, head.shape, head.nbytes, head.codec, head.unique_id) == (
        dtype,
        (2, 3),
        6 * dtype.itemsize,
        "lz4",
        4,
    )


@pytest.mark.parametrize("parameters", [None, -1, 11, "x", 5.0])
def test_unknown_codec_parameters(parameters: object) -> None:
    with pytest.raises(WireError, match=r"codec.parameters"):
        array_head({"codec": {"name": "lz4", "parameters": parameters}, "uncompressedSize": 4}, U16, 4)


@pytest.mark.parametrize("size", [None, -4, 1 << 50, "12"])
def test_a_wild_uncompressed_size(size: object) -> None:
    with pytest.raises(WireError):
        array_head({"codec": {"name": "lz4", "parameters": 6}, "uncompressedSize": size, "dimension": dims(2)}, U16, 4)


def test_pva_time_is_posix_and_ca_time_is_not() -> None:
    assert timestamp_ns({"secondsPastEpoch": 1_700_000_000, "nanoseconds": 7}) == 1_700_000_000_000_000_007
    assert ca_timestamp_ns(1_700_000_000 - 631_152_000, 7) == 1_700_000_000_000_000_007
    assert timestamp_ns({}) == timestamp_ns(None) == ca_timestamp_ns(0, 0) == 0
    assert timestamp_ns({"secondsPastEpoch": -5, "nanoseconds": 0}) == 0


@pytest.mark.parametrize("seconds", [9_223_372_037, 19_880_899_200, 2**63 - 1])
def test_time_stamps_beyond_the_year_2262_are_the_latest_possible(seconds: int) -> None:
    assert timestamp_ns({"secondsPastEpoch": seconds, "nanoseconds": 7}) == MAX_TIMESTAMP_NS == 2**63 - 1


def test_attributes_by_name() -> None:
    found = attributes(
        [{"name": "a", "value": 1}, None, {"name": "b", "value": {"value": 2.5, "alarm": {}}}, {"name": "c"}]
    )
    assert found == {"a": 1, "b": 2.5, "c": None}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.integers(0, 9)), max_size=8))
def test_heads_with_the_parts_of_the_last_one_are_those_read_in_full(choices: list[tuple[int, int, int, int]]) -> None:
    codecs: list[Any] = [None, {"name": ""}, {"name": "lz4", "parameters": 6}]
    shapes = dims(3, 2), dims(2, 3), dims(5)
    sets = [], [{"name": "a", "value": 1}], [{"name": "a", "value": {"value": 2}}]
    heads = ArrayHeads()
    for codec, shape, attribute, number in choices:
        meta = {
            "codec": codecs[codec],
            "uncompressedSize": 12,
            "dimension": shapes[shape],
            "attribute": sets[attribute],
            "uniqueId": number,
            "timeStamp": {"secondsPastEpoch": number, "nanoseconds": 1},
        }
        try:
            expected = array_head(meta, U16, 6)
        except WireError:
            with pytest.raises(WireError):
                heads.read(meta, U16, 6)
        else:
            assert heads.read(meta, U16, 6) == expected
