"""The fuzz targets of files, each for a moment, without atheris."""

import pytest

from tests.fuzz.fuzz_files import TARGETS, run


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_damaged_files_are_refused_in_one_line(name, tmp_path):
    test, files = TARGETS[name](tmp_path)
    assert run(test, files, seconds=0.5, seed=11) > 0
