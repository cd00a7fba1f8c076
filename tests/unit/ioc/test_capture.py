import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from detectors.config import Hdf5Section
from detectors.errors import CommandError
from detectors.stats import CaptureStatus, OutputStats, flat
from detectors.worker_names import HDF5
from ioc.capture import CaptureControl
from ioc.roster import Roster
from ioc.templates import Detector

XML = '<Attributes><Attribute name="a" type="CONST" source="x"/></Attributes>'


class Writer:
    """What the worker was asked, and what it answers."""

    def __init__(self, folder: Path = Path("/data"), host: str | None = None) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.refuses = False
        self.captures = 0
        self.capturing = False
        self.roster = Roster({HDF5: None})
        self.roster.responding = frozenset({HDF5})
        self.control = CaptureControl(
            Hdf5Section.model_validate({"folder": folder, "compression": "bslz4", "host": host}),
            self.ask,
            self.roster,
            Detector((), hdf5=HDF5),
            lambda: {"count_time": 0.5},
        )

    async def ask(self, worker: str, command: str, timeout_s: float = 2.0, **args: Any) -> Any:
        assert worker == HDF5
        if command == "status":
            return asdict(self.status())
        if self.refuses:
            raise CommandError("no")
        self.sent.append((command, args))
        if command == "folder":
            return args["folder"].replace("/link", "/real")
        self.captures += command == "capture"
        self.capturing = command == "capture"
        return None

    def status(self) -> CaptureStatus:
        folder = OutputStats(name="hdf5", folder="/old")
        return CaptureStatus(pid=7, captures=self.captures, capturing=self.capturing, wanted=3, output=folder)

    def show(self, *, running: bool = True, **values: Any) -> None:
        self.control.seen(flat(self.status()) | {"process.running": running} | values)

    async def give(self, handler: str, *words: Any) -> None:
        await self.control.handlers()[handler].apply(*words)

    def shown(self, handler: str, *words: str) -> Any:
        present = self.control.handlers()[handler].present
        assert present is not None
        return present(*words)


def test_a_capture_is_asked_for_as_it_is_set() -> None:
    writer = Writer()

    async def main() -> None:
        for name, value in (("file_name", "a{b}"), ("file_number", 12), ("images", 5), ("step", 2), ("compression", 4)):
            await writer.give("capture_setting", value, name)
        await writer.give("capture_attributes", XML, "cam1")
        await writer.give("capture", 1)

    asyncio.run(main())
    wanted = {"images": 5, "start": 0, "stop": 0, "step": 2, "compression": "blosc", "lazy": False}
    wanted |= {"attributes": [XML], "metadata": {"count_time": 0.5}}
    assert writer.sent == [
        ("check_attributes", {"attributes": [XML]}),
        ("capture", {"file": "/data/a{{b}}_0012.h5", **wanted}),
    ]
    assert writer.shown("capture") == 1
    assert writer.shown("capture_setting", "file_number") == 13


def test_the_configuration_is_what_settings_start_with() -> None:
    writer = Writer()
    assert writer.shown("capture_folder") == "/data/"
    assert writer.shown("capture_setting", "compression") == 5
    assert writer.shown("capture_setting", "auto_increment") == 1


def test_the_end_is_what_the_records_show_not_what_was_sent_before() -> None:
    writer = Writer()

    async def main() -> None:
        await writer.give("capture", 1)
        end = asyncio.create_task(writer.give("capture_end", 1))
        writer.show(captures=0, capturing=False)  # sent before the capture began
        await asyncio.sleep(0)
        assert writer.control.capturing
        writer.show()
        stop = asyncio.create_task(writer.give("capture", 0))
        await asyncio.sleep(0.01)
        assert writer.sent[-1] == ("finish", {})
        assert not end.done()
        assert not stop.done()
        writer.show()
        await asyncio.wait_for(asyncio.gather(stop, end), 5)

    asyncio.run(main())
    assert writer.shown("capture") == 0


def test_a_writer_that_died_ends_the_capture() -> None:
    writer = Writer()
    asyncio.run(writer.give("capture", 1))
    writer.show(running=False, captures=0, capturing=False)
    assert not writer.control.capturing


def test_a_refused_capture_keeps_its_number_and_does_not_hold_anybody_up() -> None:
    writer = Writer()
    writer.refuses = True

    async def main() -> None:
        with pytest.raises(CommandError, match=r"^no$"):
            await writer.give("capture", 1)
        await asyncio.wait_for(writer.give("capture_end", 1), 5)

    asyncio.run(main())
    assert writer.shown("capture_setting", "file_number") == 1


def test_without_a_writer_nothing_is_asked(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.roster.responding = frozenset()

    async def main() -> None:
        await writer.give("capture", 0)
        with pytest.raises(CommandError, match="does not run"):
            await writer.give("capture", 1)
        await writer.give("capture_folder", f"{tmp_path}/later")

    asyncio.run(main())
    assert writer.sent == []
    writer.roster.responding = frozenset({HDF5})
    asyncio.run(writer.control.settle())
    assert writer.sent == [("folder", {"folder": f"{tmp_path}/later"})]


def test_who_ran_before_is_taken_as_it_is() -> None:
    writer = Writer()
    writer.captures, writer.capturing = 2, True
    writer.control.adopt(asdict(writer.status()))
    assert writer.shown("capture") == 1
    assert writer.shown("capture_folder") == "/old/"
    assert writer.shown("capture_setting", "images") == 3
    asyncio.run(writer.control.settle())
    assert writer.sent == []


@pytest.mark.parametrize(
    ("name", "value"), [("file_number", -1), ("images", -1), ("start", -1), ("step", 0), ("file_template", "%d")]
)
def test_a_senseless_setting_is_refused(name: str, value: Any) -> None:
    writer = Writer()
    before = writer.shown("capture_setting", name)
    with pytest.raises(CommandError, match="found"):
        asyncio.run(writer.give("capture_setting", value, name))
    assert writer.shown("capture_setting", name) == before


def test_a_folder_outside_the_roots_is_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    (tmp_path / "link").symlink_to("/etc")
    for folder in ("/etc", f"{tmp_path}/link", f"{tmp_path}/../x"):
        with pytest.raises(CommandError, match=f"^FilePath: .* expected a place below the roots {tmp_path}$"):
            asyncio.run(writer.give("capture_folder", folder))
    assert writer.sent == []
    assert writer.shown("capture_folder") == f"{tmp_path}/"


@pytest.mark.parametrize("compression", [1, 2, 7])
def test_a_compression_that_is_not_supported_is_refused(compression: int) -> None:
    writer = Writer()
    with pytest.raises(CommandError, match="expected one of None, zlib, Blosc, BSLZ4, LZ4"):
        asyncio.run(writer.give("capture_setting", compression, "compression"))
    assert writer.shown("capture_setting", "compression") == 5


def test_attributes_are_read_from_a_file(tmp_path: Path) -> None:
    writer = Writer()
    path = tmp_path / "a.xml"
    path.write_text(XML)
    asyncio.run(writer.give("capture_attributes", str(path), "HDF1"))
    assert writer.sent == [("check_attributes", {"attributes": [XML]})]
    assert writer.shown("capture_attributes", "HDF1") == str(path)
    with pytest.raises(CommandError, match="cannot be read"):
        asyncio.run(writer.give("capture_attributes", f"{tmp_path}/none.xml", "HDF1"))


def test_folders_are_made_as_deep_as_was_set(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    asyncio.run(writer.give("capture_setting", -2, "create_directory"))
    asyncio.run(writer.give("capture_folder", f"{tmp_path}/a/b/"))
    assert writer.sent == [("folder", {"folder": f"{tmp_path}/a/b", "create": -2})]
    assert writer.shown("capture_folder") == f"{tmp_path}/a/b/"


def test_the_image_counter_counts_from_what_is_put() -> None:
    writer = Writer()
    writer.show(**{"output.offered": 7})
    asyncio.run(writer.give("capture_counter", 100))
    writer.show(**{"output.offered": 9})
    assert writer.control.settings.array_counter == 102


def test_a_flush_is_asked_for_while_there_is_a_file() -> None:
    writer = Writer()
    asyncio.run(writer.give("capture_flush"))
    assert writer.sent == []
    asyncio.run(writer.give("capture", 1))
    asyncio.run(writer.give("capture_flush"))
    assert writer.sent[-1] == ("flush", {})


def test_a_capture_is_shown_with_its_own_numbers() -> None:
    """A snapshot that shows the capture before its answer came must not: FileNumber_RBV would be the last one's."""
    writer = Writer()
    seen: list[bool] = []
    ask = writer.ask

    async def slow(worker: str, command: str, timeout_s: float = 2.0, **args: Any) -> Any:
        answer = await ask(worker, command, timeout_s, **args)
        writer.show()
        seen.append(writer.control.settings.capturing)
        return answer

    writer.control._ask = slow
    asyncio.run(writer.give("capture", 1))
    writer.show(captures=0, capturing=False)
    seen.append(writer.control.settings.capturing)
    assert not any(seen)
    writer.show()
    assert (writer.control.settings.capturing, writer.control.settings.file_number) == (True, 2)


def test_single_images_are_not_written() -> None:
    writer = Writer()
    asyncio.run(writer.give("capture_setting", 1, "write_mode"))
    assert writer.shown("capture_setting", "write_mode") == 1
    with pytest.raises(CommandError, match="expected Capture or Stream"):
        asyncio.run(writer.give("capture_setting", 0, "write_mode"))


def test_a_folder_on_another_host_is_checked_there() -> None:
    writer = Writer(host="daq3")
    asyncio.run(writer.give("capture_folder", "/not/here/link/"))
    assert writer.sent == [("folder", {"folder": "/not/here/link", "create": 0})]
    assert writer.shown("capture_folder") == "/not/here/real/"
    writer.refuses = True
    with pytest.raises(CommandError, match="no"):
        asyncio.run(writer.give("capture_folder", "/elsewhere"))
    assert writer.shown("capture_folder") == "/not/here/real/"
    with pytest.raises(CommandError, match=r"^FilePath: found 'x', expected an absolute path"):
        asyncio.run(writer.give("capture_folder", "x"))
    writer.roster.responding = frozenset()
    asyncio.run(writer.give("capture_folder", "/later"))  # it is checked when the worker comes
    assert writer.shown("capture_folder") == "/later/"


def test_after_a_refused_folder_nothing_is_written_to_the_one_before(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.show(folder_exists=True)
    assert writer.control.settings.file_path_exists
    with pytest.raises(CommandError, match="below the roots"):
        asyncio.run(writer.give("capture_folder", "/etc"))
    writer.show(folder_exists=True)
    assert not writer.control.settings.file_path_exists
    with pytest.raises(CommandError, match="FilePath: /etc was refused"):
        asyncio.run(writer.give("capture", 1))
    asyncio.run(writer.give("capture_folder", str(tmp_path)))
    assert writer.control.settings.file_path_exists
    asyncio.run(writer.give("capture", 1))
