"""A data set that a map spreads over folders, which stand for the disks of hosts."""

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.buffer.checks import check_buffer
from detectors.buffer.data_map import MappedDetector, MappedModule, format_map, parse_map
from detectors.buffer.data_set import data_sets, open_data_set
from detectors.buffer.fields import Field
from detectors.buffer.inventory import take_inventory
from detectors.buffer.reader import BufferReader
from detectors.buffer.registration import DetectorInfo, register_module
from detectors.buffer.repair import repair_buffer
from detectors.errors import BufferReadError, ConfigError, NotInBufferError
from detectors.mosaic import Chips, ModulePlace
from tests.unit.buffer.spread import Spread

PULSES = (10, 11, 14)


@pytest.fixture
def spread(tmp_path: Path) -> Spread:
    """Two hosts with two modules each, and a map of them."""
    return Spread(tmp_path, {"daq1": ("M00", "M01"), "daq2": ("M02", "M03")}, PULSES)


def test_modules_of_all_hosts_are_read_as_one_detector(spread: Spread):
    with BufferReader(spread.map) as reader:
        assert reader.modules == ("M00", "M01", "M02", "M03")
        assert (reader.data_set.name, reader.missing) == ("JF", {})
        assert reader.extent("M03") == (10, 14)
        image = reader.read_image(11)
        np.testing.assert_array_equal(image.data, spread.image(11))
        assert reader.image_head(image).present == 0b1111
        assert reader.is_good(image)
        assert [one.pulse_id for one in reader.images(0, 100)] == list(PULSES)
    assert list(check_buffer(BufferReader(spread.map))) == []


def test_the_order_of_the_modules_is_that_of_the_map(spread: Spread):
    spread.change(lambda tree: tree["detectors"][0]["modules"].reverse())
    image = BufferReader(spread.map).read_image(10)
    assert [frame.module for frame in image.frames if frame] == ["M03", "M02", "M01", "M00"]
    np.testing.assert_array_equal(image.data[:8], spread.frame("M03", 10))


def test_a_host_that_is_missing_is_modules_that_hold_nothing(spread: Spread):
    spread.unmount("daq2")
    reader = BufferReader(spread.map)
    assert list(reader.missing) == ["M02", "M03"]
    for module, why in reader.missing.items():
        assert why == f"{spread.folder(module)} of host daq2 cannot be seen: No such file or directory"
    with pytest.raises(NotInBufferError, match=r"M02: pulse 10 is not in the buffer: .* of host daq2 cannot be seen"):
        reader.read_image(10)
    image = reader.read_image(10, allow_missing=True)
    head = reader.image_head(image)
    assert (head.present, head.is_good_frame, image.unreadable) == (0b0011, False, ())
    assert head.packets_missing == 2 * 128
    np.testing.assert_array_equal(image.data, spread.image(10, without=("M02", "M03")))
    assert (reader.extent("M02"), reader.latest("M02"), len(reader.records(0, 100, 1, "M02"))) == (None, None, 0)
    assert reader.extents_text().endswith(f"M02, M03: missing: {reader.missing['M02']}")


def test_verify_names_the_modules_and_the_host_once_each(spread: Spread):
    spread.unmount("daq2")
    findings = list(check_buffer(BufferReader(spread.map)))
    assert [(found.check, found.module) for found in findings] == [("host", "M02"), ("host", "M03")]
    assert all("of host daq2 cannot be seen" in found.message for found in findings)


def test_the_inventory_names_them_too(spread: Spread):
    spread.unmount("daq1")
    found = take_inventory(BufferReader(spread.map))
    assert (found.whole, found.partial) == (0, len(PULSES))
    assert [text.partition(": ")[0] for text in found.unreadable] == ["M00", "M01"]


def test_a_host_that_may_not_be_read_is_missing(spread: Spread, deny: Callable[[Path], None]):
    deny(spread.root("daq1"))
    reader = BufferReader(spread.map)
    assert [why.rpartition(": ")[2] for why in reader.missing.values()] == ["Permission denied"] * 2
    assert reader.read_image(10, allow_missing=True).frames[0] is None
    assert len(list(check_buffer(reader))) == 2


def test_a_host_that_comes_back_is_there_at_the_next_opening(spread: Spread):
    spread.unmount("daq2")
    assert BufferReader(spread.map).missing
    spread.mount("daq2")
    assert BufferReader(spread.map).read_image(10).is_complete


def test_all_folders_are_looked_at_at_once(spread: Spread, monkeypatch: pytest.MonkeyPatch):
    """A server that is gone makes each look at it take minutes."""
    together = threading.Barrier(4)

    def gone(folder: Path) -> None:
        together.wait(timeout=10)
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), str(folder))

    monkeypatch.setattr("detectors.buffer.data_set.os.listdir", gone)
    missing = BufferReader(spread.map).missing
    assert [why.rpartition(": ")[2] for why in missing.values()] == ["Connection timed out"] * 4


def test_without_any_host_the_map_alone_says_what_is_missing(spread: Spread):
    for host in spread.hosts:
        spread.unmount(host)
    reader = BufferReader(spread.map)
    assert len(reader.missing) == 4
    assert [found.check for found in check_buffer(reader)] == ["host"] * 4
    spread.change(lambda tree: [tree["detectors"][0].pop(key) for key in ("dtype", "shape", "data_bytes")])
    with pytest.raises(BufferReadError, match="found no description of its frames, and no module folder that has one"):
        BufferReader(spread.map)


def test_a_map_by_hand_needs_names_and_folders_only(spread: Spread, tmp_path: Path):
    modules = [{"name": f"N{m}", "folder": str(spread.folder(f"M0{m}"))} for m in range(4)]
    path = tmp_path / "hand.json"
    path.write_text(json.dumps({"format": 1, "detectors": [{"name": "JF", "modules": modules}]}))
    reader = BufferReader(path, "N2")
    assert reader.info.shape == (8, 16)
    np.testing.assert_array_equal(reader.read_frame(10).data, spread.frame("M02", 10))
    spread.unmount("daq1")
    assert list(BufferReader(path, "N0").data_set.missing_hosts()) == [
        f"N0: missing: {spread.folder('M00')} cannot be seen: No such file or directory"
    ]


def test_folders_are_relative_to_the_map_so_that_a_data_set_can_be_moved(
    spread: Spread, tmp_path: Path, monkeypatch: Any
):
    def relative(tree: Any) -> None:
        for module in tree["detectors"][0]["modules"]:
            module["folder"] = str(Path(module["folder"]).relative_to(spread.map.parent))

    spread.change(relative)
    shutil.move(spread.map.parent, tmp_path / "moved")
    monkeypatch.chdir("/")
    assert BufferReader(tmp_path / "moved" / spread.map.name).read_image(10).is_complete


def test_a_map_that_does_not_fit_its_folders_is_refused(spread: Spread):
    spread.change(lambda tree: tree["detectors"][0].update(shape=[16, 8]))
    register_module(spread.folder("M01").parent, DetectorInfo("uint16", (8, 16), 256, ("M01",)))
    with pytest.raises(BufferReadError, match=r"has frames of \[16, 8\] uint16 .*, but .*M01 holds \[8, 16\] uint16"):
        BufferReader(spread.map)


def test_places_are_those_of_the_map_also_of_a_missing_host(spread: Spread):
    def put(tree: Any) -> None:
        for m, module in enumerate(tree["detectors"][0]["modules"]):
            module["place"] = {"row": 10 * m, "column": 0, "flip": "none", "rotate": 0, "chips": {}}

    with pytest.raises(BufferReadError, match="found no places of the modules"):
        BufferReader(spread.map).mosaic()
    spread.change(put)
    spread.unmount("daq2")
    assert BufferReader(spread.map).mosaic().shape == (38, 16)


def test_a_detector_of_several_is_named_below_the_map(spread: Spread):
    spread.change(lambda tree: tree["detectors"].append({**tree["detectors"][0], "name": "CAM"}))
    assert [(one.name, one.path) for one in data_sets(spread.map)] == [
        ("JF", spread.map / "JF"),
        ("CAM", spread.map / "CAM"),
    ]
    assert BufferReader(spread.map / "CAM").data_set.name == "CAM"
    with pytest.raises(BufferReadError, match=f"found 2 detectors, expected one; give one of {spread.map}/JF, "):
        BufferReader(spread.map)
    with pytest.raises(BufferReadError, match="found no detector 'EIGER', expected one of JF, CAM"):
        open_data_set(spread.map / "EIGER")


def test_a_folder_of_detectors_holds_each(spread: Spread, tmp_path: Path):
    folder = spread.root("daq1")
    (tmp_path / "other").mkdir()
    assert [one.path for one in data_sets(folder)] == [folder / "JF"]
    assert [one.path for one in data_sets(folder / "JF")] == [folder / "JF"]
    with pytest.raises(BufferReadError, match="give the folder of a detector"):
        data_sets(tmp_path / "other")


def test_a_module_of_one_folder_that_has_not_begun_is_no_missing_host(spread: Spread):
    shutil.rmtree(spread.folder("M01"))
    reader = BufferReader(spread.folder("M00").parent)
    assert reader.missing == {}
    assert [(found.check, found.module) for found in check_buffer(reader)][:1] == [("records", "M01")]


def test_repair_refuses_a_map(spread: Spread):
    with pytest.raises(ConfigError, match=r"found a map, expected the folder of a detector; repair each host's own"):
        list(repair_buffer(BufferReader(spread.map)))


def test_a_map_says_what_was_put_in(tmp_path: Path):
    place = ModulePlace(3, 4, "rows", 90, Chips(1, 2, 2))
    fields = (Field("a", "uint8", (2,), 0, 2),)
    whole = MappedDetector(
        "JF",
        (MappedModule("M01", tmp_path / "a", "daq1", place), MappedModule("M00", Path("/b"))),
        DetectorInfo("uint16", (1, 5), 10, ("M00", "M01"), fields),
    )
    least = MappedDetector("CAM", (MappedModule("M00", Path("/c")),))
    assert parse_map(format_map([whole, least]), tmp_path / "x.json") == (whole, least)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "x.json: not JSON: Expecting value"),
        ("[]", r"x.json: found \[\], expected an object with detectors, format"),
        ('{"format": 1}', "x.json: detectors: missing; it is required"),
        ('{"format": 2, "detectors": []}', "x.json: format: found 2, expected 1; update pebbledaq"),
        ('{"format": 1, "detectors": []}', r"x.json: detectors: found \[\], expected a list with an entry"),
        ('{"format": 1, "detectors": [7]}', r"x.json: detectors\[0\]: found 7, expected an object with modules, name"),
        ("D", None),
        ('D{"name": "..", "modules": [M]}', r"detectors\[0\].name: found \"..\", expected a name that a folder can"),
        ('D{"name": "J", "modules": [M, M]}', r"detectors\[0\].modules\[1\].name: 'A' is also the name of entry 0"),
        ('D{"name": "J", "modules": [M], "dtyp": 1}', r"detectors\[0\]: \"dtyp\": unknown key; remove it or correct"),
        ('D{"name": "J", "modules": [M], "dtype": "u9"}', r"detectors\[0\]: found no usable description of a detector"),
        ('D{"name": "J", "modules": [{"name": "A"}]}', r"detectors\[0\].modules\[0\]: folder: missing; it is required"),
        ('D{"name": "J", "modules": [{"name": "A", "folder": 3}]}', r"modules\[0\].folder: found 3, expected text"),
        ('D{"name": "J", "modules": [{"name": "A", "folder": "/", "host": null}]}', r"host: found null, expected text"),
        (
            'D{"name": "J", "modules": [{"name": "A", "folder": "/", "place": {"row": 1}}]}',
            r"modules\[0\].place: found {\"row\": 1}, expected row, column and chips",
        ),
    ],
)
def test_a_mistake_in_a_map_is_named_with_its_place(text: str, said: str | None):
    if text.startswith("D"):
        detector = text[1:] or '{"name": "J", "modules": [M]}'
        module = '{"name": "A", "folder": "/a"}'
        text = f'{{"format": 1, "detectors": [{detector.replace("[M", "[" + module).replace(", M]", f", {module}]")}]}}'
    if said is None:
        assert parse_map(text, Path("x.json"))
        return
    with pytest.raises(BufferReadError, match=said):
        parse_map(text, Path("x.json"))
