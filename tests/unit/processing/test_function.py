import math
from pathlib import Path

import numpy as np
import pytest

from detectors.errors import ConfigError, ProcessingError
from detectors.image_head import ImageHead
from detectors.processing.function import Processing, load

IMAGE = np.arange(6, dtype=np.uint8).reshape(2, 3) + np.uint8(250)
HEAD = ImageHead(12, is_good_frame=True)

FILE = """
import numpy as np
calls = []

def total(image, head):
    return image.sum()

def parts(image, head):
    return {"image": image, "good": head.is_good_frame, "pulse": [head.pulse_id]}

def itself(image, head):
    return image

def broken(image, head):
    return 1 / (head.pulse_id - 12)

class Brightest:
    def __call__(self, image, head):
        return {"brightest": image, "images": 1}
    def combine(self, a, b):
        return {"brightest": np.maximum(a["brightest"], b["brightest"]), "images": a["images"] + b["images"]}
    def finish(self, total):
        return total | {"twice": 2 * total["images"]}

brightest = Brightest()

def largest(image, head):
    return image.max()
largest.combine = np.maximum
largest.finish = lambda total: -int(total)

number = 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_a_bare_value_has_the_name_value(file: Path) -> None:
    result = load(f"{file}:total")(IMAGE, HEAD)
    assert list(result) == ["value"]
    assert result["value"] == int(IMAGE.sum())
    assert result["value"].shape == ()


def test_a_dict_keeps_its_names_and_what_heads_say(file: Path) -> None:
    result = load(f"{file}:parts")(IMAGE, HEAD)
    assert {name: array.tolist() for name, array in result.items()} == {
        "image": IMAGE.tolist(),
        "good": 1,
        "pulse": [12],
    }


def test_results_are_added_without_overflow(file: Path) -> None:
    itself = load(f"{file}:itself")
    twice = itself.combine(itself(IMAGE, HEAD), itself(IMAGE, HEAD))
    assert np.array_equal(twice["value"], 2 * IMAGE.astype(int))
    assert itself.finish(twice) is twice


def test_the_result_does_not_lie_in_the_memory_of_the_image(file: Path) -> None:
    image = IMAGE.copy()
    for name in ("itself", "parts", "brightest"):
        result = load(f"{file}:{name}")(image, HEAD)
        assert not any(np.may_share_memory(array, image) for array in result.values())
    wide = IMAGE.astype(np.uint64)
    assert not np.may_share_memory(load(f"{file}:itself")(wide, HEAD)["value"], wide)


def test_an_object_combines_and_finishes(file: Path) -> None:
    brightest = load(f"{file}:brightest")
    total = brightest.combine(brightest(IMAGE, HEAD), brightest(IMAGE[::-1], HEAD))
    assert total["brightest"].dtype == np.uint8
    assert brightest.finish(total)["twice"] == 4
    assert np.array_equal(total["brightest"], np.maximum(IMAGE, IMAGE[::-1]))


def test_combine_and_finish_of_a_bare_value_get_it_bare(file: Path) -> None:
    largest = load(f"{file}:largest")
    total = largest.combine(largest(IMAGE, HEAD), largest(IMAGE[:1], HEAD))
    assert largest.finish(total)["value"] == -255


def test_the_image_is_read_only() -> None:
    def blank(image: np.ndarray, head: ImageHead) -> int:
        image[0] = 0
        return 0

    with pytest.raises(ProcessingError, match="here:blank: pulse 12: ValueError: assignment destination is read-only"):
        Processing(blank, "here:blank")(IMAGE, HEAD)
    assert IMAGE.flags.writeable


def test_an_error_names_the_pulse_and_the_line(file: Path) -> None:
    line = FILE.splitlines().index("    return 1 / (head.pulse_id - 12)") + 1
    with pytest.raises(ProcessingError) as caught:
        load(f"{file}:broken")(IMAGE, HEAD)
    assert str(caught.value) == (f"{file}:broken: pulse 12: ZeroDivisionError: division by zero ({file}, line {line})")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "found NoneType as 'value', expected a number, an array of numbers, or a dict"),
        ("text", "found str as 'value'"),
        ({"a": object()}, "found object as 'a'"),
        ([[1], [2, 3]], "found list as 'value'"),
        ({}, "found an empty dict"),
        ({1: 1}, "found the name 1, expected a text"),
        ({"a/b": 1}, "found the name 'a/b'"),
    ],
)
def test_what_is_no_result_is_refused(returned: object, message: str) -> None:
    processing = Processing(lambda image, head: returned, "here:f")
    with pytest.raises(ConfigError, match=rf"^here:f: pulse 12: {message}"):
        processing(IMAGE, HEAD)


def test_results_of_different_shapes_are_not_added() -> None:
    processing = Processing(lambda image, head: image, "here:f")
    with pytest.raises(ProcessingError, match=r"found the shapes .*\[1, 3\].*expected .*\[2, 3\]"):
        processing.combine(processing(IMAGE, HEAD), processing(IMAGE[:1], HEAD))


def test_a_module_that_is_installed() -> None:
    assert load("math:hypot").spec == "math:hypot"
    assert load("detectors.image_head:image_head").digest
    assert load("builtins:divmod").digest == ""


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("total", "found no function, expected module:name or file.py:name"),
        ("mine.py:", "found no function"),
        ("no_such_module:f", "no_such_module: found no module of that name; a file is given as file.py:name"),
        ("math.no_such:f", "found no module of that name"),
        ("math:no_such", "math:no_such: found no no_such in math"),
        ("no_such.py:f", "no_such.py: cannot be loaded: No such file or directory"),
        ("{file}:number", "found int, expected a function of \\(image, head\\)"),
        ("{file}:Brightest", "found a class, expected a function of \\(image, head\\)"),
        ("os:getcwd", "found a function of \\(\\), expected a function of \\(image, head\\)"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(file: Path, spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(spec.format(file=file))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", r"SyntaxError: .*mine.py, line 1"),
        ("import no_such_package", r"ModuleNotFoundError: No module named 'no_such_package' \(.*mine.py, line 1\)"),
        ("\nraise ValueError('a\\nb')", r"ValueError: a b \(.*mine.py, line 2\)"),
        ("open('no-such-file')", "No such file or directory: no-such-file"),
    ],
)
def test_a_file_that_fails_says_where(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load(f"{file}:f")
    assert len(str(caught.value).splitlines()) == 1


def test_wrong_functions_beside_it_are_refused_at_once() -> None:
    def summed(image: np.ndarray, head: ImageHead) -> float:
        return math.fsum(image.flat)

    summed.combine = lambda total: total  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"here:summed: combine: found a function of \(total\), expected .*\(a, b\)"):
        Processing(summed, "here:summed")


def test_a_changed_file_has_another_digest(file: Path) -> None:
    before = load(f"{file}:total").digest
    assert load(f"{file}:total").digest == before
    file.write_text(FILE + "#")
    assert load(f"{file}:total").digest != before
