"""The fuzz targets of files, each with some damaged files, without atheris."""

import pytest

from tests.fuzz.fuzz_files import TARGETS, run

MOST = {
    "config": 1000,
    "detector": 100,
    "hdf5": 5,
    "latest": 15,
    "map": 50,
    "module": 100,
    "records": 15,
    "sidecar": 15,
}
"""Damaged files of each target: as many as take about half a second."""


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_damaged_files_are_refused_in_one_line(name, tmp_path):
    test, files = TARGETS[name](tmp_path)
    assert run(test, files, seed=11, most=MOST[name]) == MOST[name]
