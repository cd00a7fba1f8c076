"""A fly scan with stock ophyd-async, as a process of its own: ``python -m bench.scan_client PREFIX FOLDER IMAGES``.

Prints "SCAN" when the detector is about to take images, then the number of images that the documents name.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.run_engine import RunEngine
from ophyd_async.core import StaticFilenameProvider, StaticPathProvider, TriggerInfo, init_devices
from ophyd_async.epics.adcore import ADWriterFactory
from ophyd_async.epics.adsimdetector import SimDetector

FILE = "scan"


def main() -> None:
    prefix, folder, images = sys.argv[1:]
    documented = 0

    def count(name: str, document: dict[str, Any]) -> None:
        nonlocal documented
        if name == "stream_datum":
            first, stop = document["indices"]["start"], document["indices"]["stop"]
            assert first in {0, documented}, f"the documents go on at image {first} after {documented}"
            documented = stop

    engine = RunEngine()
    engine.subscribe(count)
    with init_devices():
        paths = StaticPathProvider(StaticFilenameProvider(FILE), Path(folder))
        detector = SimDetector(prefix, ADWriterFactory.hdf(paths), name="det")

    @bpp.stage_decorator([detector])
    @bpp.run_decorator()
    def plan() -> Iterator[Any]:
        yield from bps.prepare(detector, TriggerInfo(number_of_events=int(images)), wait=True)
        yield from bps.declare_stream(detector, name="main", collect=True)
        yield from bps.kickoff(detector, wait=True)
        yield from bps.collect_while_completing([detector], [detector], flush_period=0.5, stream_name="main")

    print("SCAN", flush=True)
    engine(plan())
    print(documented, flush=True)


if __name__ == "__main__":
    main()
