"""What specification and configuration say of a PV's arrays."""

import math

import numpy as np
import pytest

from detectors.config import PvaSection
from detectors.errors import ConfigError
from detectors.sources.image_sink import Description
from detectors.sources.pvspec import parse_pv_spec
from detectors.workers.monitor.pvs import conform, declared


def described(shape: tuple[int, ...], dtype: str) -> Description:
    return Description(math.prod(shape) * np.dtype(dtype).itemsize, shape, dtype, "")


@pytest.mark.parametrize(
    ("spec", "keys", "shape", "dtype", "expected"),
    [
        ("CAM", {}, (2, 6), "int8", (2, 6)),
        ("CAM,4", {}, (12,), "uint16", (4, 3)),
        ("CAM,4", {}, (2, 6), "uint16", (2, 6)),
        ("CAM[3,4](uint16)", {}, (12,), "uint16", (3, 4)),
        ("CAM[3,4](uint16)", {}, (3, 4), "uint16", (3, 4)),
        ("CAM[3,4]", {"dtype": "uint16"}, (12,), "uint16", (3, 4)),
        ("CAM(uint16)", {"shape": (3, 4)}, (12,), "uint16", (3, 4)),
        ("CAM[1](uint16)", {}, (), "uint16", ()),
        ("CAM[1](uint16)", {}, (1,), "uint16", ()),
        ("CAM(string)", {"shape": (3, 4)}, (256,), "uint8", (256,)),
        ("CAM[1](string)", {}, (256,), "uint8", (256,)),
        ("CAM[4](bool)", {}, (4,), "uint8", (4,)),
    ],
)
def test_arrays_have_the_shape_that_is_asked_for(
    spec: str, keys: dict[str, object], shape: tuple[int, ...], dtype: str, expected: tuple[int, ...]
) -> None:
    source = PvaSection.model_validate({"name": "C", "pv": spec, **keys})
    conformed = conform(described(shape, dtype), "C", parse_pv_spec(spec, "C"), source)
    assert conformed == described(expected, dtype)
    assert declared(parse_pv_spec(spec, "C"), source) in (None, conformed)


@pytest.mark.parametrize(
    ("spec", "shape", "dtype", "says"),
    [
        ("CAM,5", (12,), "uint16", "found 12 elements, expected a multiple of 5"),
        ("CAM[3,4](int16)", (3, 4), "uint16", r"found \[3, 4\] uint16, expected \[3, 4\] int16"),
        ("CAM[4,3]", (3, 4), "uint16", r"found \[3, 4\] uint16, expected \[4, 3\] uint16"),
        ("CAM[7](double)", (6,), "float64", r"found \[6\] float64, expected \[7\] float64"),
        ("CAM(string)", (6,), "float64", r"found \[6\] float64, expected \[256\] uint8"),
    ],
)
def test_a_disagreement_is_named(spec: str, shape: tuple[int, ...], dtype: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"C: {says}"):
        conform(described(shape, dtype), "C", parse_pv_spec(spec, "C"), PvaSection(name="C", pv=(spec,)))
