from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.assembly.datagram import DatagramLayout, missing_mask
from detectors.frame import MISSING_MASK_BYTES


@dataclass(frozen=True)
class Array:
    dtype: str
    shape: tuple[int, ...]

    @property
    def payload_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


def layout(*arrays: Array) -> DatagramLayout:
    return DatagramLayout.of([("A", array) for array in arrays])


@pytest.mark.parametrize(
    ("arrays", "dtype", "shape"),
    [
        ([Array("uint16", (4, 8))], "uint16", (4, 8)),
        ([Array("float64", ())], "float64", (1,)),
        ([Array("uint16", (4, 8))] * 3, "uint16", (3, 4, 8)),
        ([Array("uint16", (4, 8)), Array("uint16", (5,))], "uint16", (37,)),
        ([Array("uint16", (4, 8)), Array("float32", (5,))], "uint8", (84,)),
        ([Array("float64", ()), Array("float64", ())], "float64", (2,)),
    ],
)
def test_the_whole_has_one_shape_and_type(arrays: list[Array], dtype: str, shape: tuple[int, ...]) -> None:
    whole = layout(*arrays)
    assert (whole.dtype, whole.shape) == (dtype, shape)


def test_names_that_come_again_are_numbered() -> None:
    assert [f.name for f in layout(*[Array("int8", (1,))] * 3).fields] == ["A", "A_1", "A_2"]


@given(
    st.lists(
        st.builds(
            Array,
            st.sampled_from(["uint8", "uint16", "float64"]),
            st.lists(st.integers(1, 5), max_size=3).map(tuple),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_fields_follow_one_another_and_fill_the_whole(arrays: list[Array]) -> None:
    whole = layout(*arrays)
    end = 0
    for field, array in zip(whole.fields, arrays, strict=True):
        assert (field.offset, field.nbytes, field.shape) == (end, array.payload_bytes, array.shape)
        end += field.nbytes
    assert end == whole.payload_bytes == int(np.prod(whole.shape)) * np.dtype(whole.dtype).itemsize


@given(st.lists(st.booleans(), min_size=1, max_size=64))
def test_the_mask_names_what_lacks(present: list[bool]) -> None:
    mask = missing_mask(present)
    if all(present):
        assert mask == b""
        return
    assert len(mask) == MISSING_MASK_BYTES
    bits = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")[: len(present)]
    assert [not bit for bit in bits] == present
