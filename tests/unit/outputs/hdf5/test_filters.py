import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.errors import ConfigError
from detectors.outputs.hdf5.filters import compression
from detectors.pixels import PIXEL_TYPES
from detectors.wire import bslz4
from tests.support.hdf5 import dataset


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(["bslz4", "blosc", "lz4", "zlib"]),
    st.sampled_from(PIXEL_TYPES),
    st.tuples(st.integers(1, 70), st.integers(1, 130)),
    st.sampled_from(["noise", "ramp", "zeros"]),
)
def test_plain_hdf5_reads_our_chunks(tmp_path, name, dtype, shape, content):
    count = shape[0] * shape[1]
    nbytes = count * np.dtype(dtype).itemsize
    raw = {
        "noise": np.random.default_rng(1).integers(0, 256, nbytes, np.uint8),
        "ramp": (np.arange(nbytes) // 16).astype(np.uint8),
        "zeros": np.zeros(nbytes, np.uint8),
    }[content]
    image = raw.view(dtype).reshape(shape)
    how = compression(name, nbytes)
    assert how.encode is not None
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("data", (1, *shape), dtype, chunks=(1, *shape), **how.options)
        data.id.write_direct_chunk((0, 0, 0), how.encode(image))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        data = dataset(file, "data")
        assert data[0].tobytes() == image.tobytes()


@pytest.mark.parametrize("name", ["bslz4", "blosc"])
def test_the_chunk_is_that_of_the_filter_itself(tmp_path, name, monkeypatch):
    monkeypatch.setattr(bslz4, "_ACCELERATION", 1)  # the filter's
    image = np.random.default_rng(2).poisson(30, (64, 128)).astype("<u2")
    how = compression(name, image.nbytes)
    assert how.encode is not None
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("data", (1, 64, 128), "<u2", chunks=(1, 64, 128), **how.options)
        data[0] = image
        assert bytes(how.encode(image)) == data.id.read_direct_chunk((0, 0, 0))[1]


def test_unknown_and_impossible_requests_are_refused():
    with pytest.raises(ConfigError, match="found 'gzip', expected one of none, bslz4, blosc, lz4, zlib"):
        compression("gzip", 10)
    with pytest.raises(ConfigError, match="takes at most"):
        compression("blosc", 2**31)
    assert compression("none", 2**40).encode is None
