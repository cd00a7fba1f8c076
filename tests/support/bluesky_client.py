"""Scans with stock ophyd-async and ophyd devices, as a client process of its own; prints its documents as JSON, a line each.

``python -m tests.support.bluesky_client SCAN PREFIX FOLDER NUMBER``
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import ophyd
from bluesky.run_engine import RunEngine
from ophyd.areadetector.filestore_mixins import FileStoreHDF5IterativeWrite
from ophyd.areadetector.plugins import HDF5Plugin
from ophyd.areadetector.trigger_mixins import SingleTrigger
from ophyd_async.core import StaticPathProvider, TriggerInfo, UUIDFilenameProvider, init_devices
from ophyd_async.epics.adcore import ADWriterFactory, NDAttributeDataType, NDAttributeParam, setup_ndattributes
from ophyd_async.epics.adsimdetector import SimDetector

SHOWN = (
    "uri",
    "indices",
    "data",
    "parameters",
    "exit_status",
    "reason",
    "num_events",
    "data_key",
    "uid",
    "stream_resource",
    "resource_path",
    "datum_kwargs",
)


def show(name: str, document: dict[str, Any]) -> None:
    print(json.dumps([name, {key: document[key] for key in SHOWN if key in document}], default=str), flush=True)  # noqa: T201


def device(prefix: str, folder: str, name: str = "det") -> SimDetector:
    paths = StaticPathProvider(UUIDFilenameProvider(), Path(folder))
    return SimDetector(prefix, ADWriterFactory.hdf(paths), name=name)


def count(engine: RunEngine, prefix: str, folder: str, number: int) -> None:
    """Trigger one image after the other."""
    with init_devices():
        detector = device(prefix, folder)
    attributes = [NDAttributeParam("det-pulse", "PULSE_ID", NDAttributeDataType.INT64, description="Pulse")]
    engine(setup_ndattributes(detector.driver, attributes))
    engine(bp.count([detector], num=number))


def fly(engine: RunEngine, prefix: str, folder: str, number: int) -> None:
    """Take so many images in one acquisition, with documents as they come."""
    with init_devices():
        detector = device(prefix, folder)

    @bpp.stage_decorator([detector])
    @bpp.run_decorator()
    def plan() -> Iterator[Any]:
        info = TriggerInfo(number_of_events=number)
        yield from bps.prepare(detector, info, wait=True)
        yield from bps.declare_stream(detector, name="main", collect=True)
        yield from bps.kickoff(detector, wait=True)
        yield from bps.collect_while_completing([detector], [detector], flush_period=0.5, stream_name="main")

    engine(plan())


def both(engine: RunEngine, prefix: str, folder: str, number: int) -> None:
    """Trigger two detectors together; ``prefix`` has both, with a comma."""
    one, other = prefix.split(",")
    with init_devices():
        first = device(one, folder, "first")
        second = device(other, folder, "second")
    engine(bp.count([first, second], num=number))


class ClassicPlugin(HDF5Plugin, FileStoreHDF5IterativeWrite):
    """The file writer as classic ophyd uses it."""


class ClassicDetector(SingleTrigger, ophyd.SimDetector):
    """A detector of classic ophyd."""

    hdf1 = ophyd.Component(ClassicPlugin, "HDF1:", write_path_template="/", root="/")


def classic(engine: RunEngine, prefix: str, folder: str, number: int) -> None:
    """Trigger one image after the other, with classic ophyd."""
    detector = ClassicDetector(prefix.removeprefix("ca://"), name="det")
    detector.hdf1.write_path_template = f"{folder}/"
    detector.wait_for_connection(timeout=20)
    engine(bp.count([detector], num=number))


def main() -> None:
    scan, prefix, folder, number = sys.argv[1:]
    engine = RunEngine()
    engine.subscribe(show)
    {"count": count, "fly": fly, "both": both, "classic": classic}[scan](engine, prefix, folder, int(number))


if __name__ == "__main__":
    main()
