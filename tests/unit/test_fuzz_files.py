"""The fuzz targets of files, each for a moment, without atheris."""

import pytest

from tests.fuzz.fuzz_files import TARGETS, run


# The HDF5 library itself loops without an end on some damaged object headers.
@pytest.mark.parametrize("name", sorted(TARGETS.keys() - {"hdf5"}))
def test_damaged_files_are_refused_in_one_line(name, tmp_path):
    test, files = TARGETS[name](tmp_path)
    assert run(test, files, seconds=0.5, seed=11) > 0
