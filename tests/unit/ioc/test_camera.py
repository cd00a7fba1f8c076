import asyncio
from dataclasses import fields, replace
from typing import Any

import pytest

from detectors.errors import CommandError
from ioc.camera import Camera, CameraStatus, ImageCount, image_figures, pool_figures


def shows(number: int, taken: int, assembled: int = 0, *, is_open: bool = True) -> dict[str, Any]:
    return {
        "acquisition.number": number,
        "acquisition.taken": taken,
        "acquisition.open": is_open,
        "images.assembled": assembled,
    }


def test_images_are_counted_over_all_acquisitions() -> None:
    count = ImageCount()
    for number, taken, total in [(0, 0, 0), (1, 3, 3), (1, 10, 10), (2, 0, 10), (2, 4, 14), (1, 1, 15), (1, 1, 15)]:
        count.seen(shows(number, taken, 99), 0.0, in_run=False)
        assert count.total == total
    count.set(0)
    count.seen(shows(1, 3), 0.0, in_run=False)
    assert count.total == 2


def test_images_of_a_run_that_is_no_acquisition_are_counted_as_they_come() -> None:
    count = ImageCount()
    count.seen(shows(1, 5, 100), 0.0, in_run=True)
    assert count.total == 5
    count.seen(shows(1, 5, 107, is_open=False), 1.0, in_run=True)
    assert count.total == 12
    count.seen(shows(1, 5, 120, is_open=False), 2.0, in_run=False)
    assert count.total == 12


def test_the_rate_is_of_the_last_second() -> None:
    count = ImageCount()
    for second, (taken, rate) in enumerate([(0, 0.0), (10, 10.0), (50, 40.0), (50, 0.0)]):
        count.seen(shows(1, taken), 100.0 + second, in_run=False)
        assert count.rate == pytest.approx(rate)


@pytest.mark.parametrize(
    ("shape", "dtype", "sizes", "fastest", "kind"),
    [
        ("1024 x 512", "uint16", (512, 1024, 0), (512, 1024, 0), (1 << 20, "UInt16", "Mono")),
        ("48 x 64 x 3", "uint8", (64, 48, 3), (3, 64, 48), (9216, "UInt8", "RGB1")),
        ("48 x 3 x 64", "uint8", (64, 48, 3), (64, 3, 48), (9216, "UInt8", "RGB2")),
        ("3 x 48 x 64", "uint8", (64, 48, 3), (64, 48, 3), (9216, "UInt8", "RGB3")),
        ("7", "float64", (7, 0, 0), (7, 0, 0), (56, "Float64", "Mono")),
        ("4 x 5 x 6", "int32", (6, 5, 4), (6, 5, 4), (480, "Int32", "Mono")),
    ],
)
def test_images_are_described_as_areadetector_does(
    shape: str, dtype: str, sizes: tuple[int, ...], fastest: tuple[int, ...], kind: tuple[int, str, str]
) -> None:
    found = image_figures({"shape": shape, "dtype": dtype, "pulse_id": 9, "unique_id": 5, "data_ns": 7})
    assert tuple(found[f"size_{axis}"] for axis in "xyz") == sizes
    assert tuple(found[f"size_{axis}"] for axis in "012") == fastest
    assert (found["array_bytes"], found["data_type"], found["color_mode"]) == kind
    assert (found["unique_id"], found["data_ns"]) == (5, 7)
    assert not found.keys() - {field.name for field in fields(CameraStatus)}


def test_images_that_are_not_known_yet_have_no_size() -> None:
    assert image_figures({"shape": "", "dtype": ""}) == {"unique_id": 0, "data_ns": 0, "data_s": 0.0}


def test_buffers_of_all_workers_are_added() -> None:
    slot = {"count": 4, "in_use": 1, "size_bytes": 1 << 20, "total_bytes": 4 << 20}
    receiver = {f"pebble.{name}": value for name, value in slot.items()} | {"disk.queued": 3, "sync.queued": 9}
    writer = {f"pool.{name}": value for name, value in slot.items()} | {"output.queued": 2}
    assert pool_figures([receiver, writer, {"pid": 3}]) == {
        "pool_max_mem": 8.0,
        "pool_used_mem": 2.0,
        "pool_alloc_buffers": 8,
        "pool_free_buffers": 6,
        "pool_used_buffers": 2,
        "queued_arrays": 5,
    }


def test_images_that_do_not_come_are_waited_for_as_long_as_the_period_says() -> None:
    camera = Camera("skip")
    assert camera.rules == ("skip", 0.0)
    for period_s, timeout_s in [(0.001, 5.0), (0.5, 5.0), (2.0, 20.0)]:
        camera.settings = type(camera.settings)(on_loss="Fail", acquire_period=period_s)
        assert camera.rules == ("fail", timeout_s)


def test_what_the_detector_decides_is_accepted_as_it_is_and_refused_else() -> None:
    camera = Camera()
    camera.status = replace(camera.status, data_type="Int32", color_mode="RGB1", size_x=64)
    given = camera.handlers()["camera_given"]
    assert given.present
    for name, value in {"data_type": 4, "color_mode": 2, "size_x": 64}.items():
        assert given.present(name) == value
        asyncio.run(given.apply(value, name))
    for name, value, reason in [
        ("data_type", 3, "found UInt16, expected Int32: the detector decides it"),
        ("color_mode", 0, "found Mono, expected RGB1"),
        ("size_x", 32, "found 32, expected 64"),
    ]:
        with pytest.raises(CommandError, match=reason):
            asyncio.run(given.apply(value, name))
