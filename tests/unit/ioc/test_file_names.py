import os.path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import CommandError
from ioc.file_names import full_file_name


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("%s%s_%4.4d.h5", "/data/x/run_0042.h5"),
        ("%s%s_%6d.h5", "/data/x/run_    42.h5"),
        ("%s/%s.h5", "/data/x/run.h5"),
        ("%s100%%_%s-%03i.h5", "/data/x/100%_run-042.h5"),
        ("%sfixed.h5", "/data/x/fixed.h5"),
        ("%ssub/%s.h5", "/data/x/sub/run.h5"),
    ],
)
@pytest.mark.parametrize("folder", ["/data/x", "/data/x/", "/data//x"])
def test_c_formats(template: str, path: str, folder: str) -> None:
    assert full_file_name(template, folder, "run", 42) == path


@pytest.mark.parametrize(
    "template",
    [
        "",
        "a.h5",
        "%d.h5",
        "%s%d",
        "%s%s%s",
        "%s%s%d%d",
        "%s%x",
        "%s%",
        "%s%(a)s",
        "%s%*d",
        "%s%s%.999999999d",
        "%s%999999999s",
        "%s%s%100d",
    ],
)
def test_a_format_that_cannot_be_filled_in_is_refused(template: str) -> None:
    with pytest.raises(CommandError, match="FileTemplate: found"):
        full_file_name(template, "/data", "run", 1)


@pytest.mark.parametrize("name", ["../run", "", "..", "a/../../../b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="expected a file inside FilePath, /data/x"):
        full_file_name("%s%s", "/data/x", name, 1)


@pytest.mark.parametrize("name", ["a\nb", "a\0", "\x1b[2J"])
def test_a_name_that_cannot_be_printed_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="FileName: found"):
        full_file_name("%s%s", "/data/x", name, 1)


@given(st.text(st.sampled_from("%sdi 0.1-x/(){}*h")), st.text(), st.integers(0, 2**31 - 1))
def test_whatever_is_asked_for_lies_inside_or_is_refused(template: str, name: str, number: int) -> None:
    try:
        path = full_file_name(template, "/data", name, number)
    except CommandError:
        return
    assert path == os.path.normpath(path)
    assert path.startswith("/data/")
