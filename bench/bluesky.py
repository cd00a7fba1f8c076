"""Files of scans at 1 kHz: a module of 256 x 512 pixels of 8 bits (128 KiB), received, put into images and written with SWMR.

Server, simulated module and client share the processors and the disk. The scan is stock ophyd-async's, 10,000 images in one
acquisition, its documents collected every 0.5 s: once, since it takes ten seconds. FlushNow is put with completion every 5 ms while
images are written. The attributes are PulseId, Damage and so on, which are always kept, and beside them one constant, two of each
image, and one PV. Medians of three.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py

from bench.scan_client import FILE
from bench.system import PREFIX, System
from bench.table import Row, spread

RATE_HZ = 1000
IMAGES = 10_000

FLUSH_EVERY_S = 0.005
FLUSHES_S = 3.0
"""Length of one capture with flushes, s: three give some thousand puts, of which a p99.9 is made."""

ATTRIBUTES_S = 1.5
"""Length of one capture with or without attributes, s."""

ATTRIBUTES = """<Attributes>
<Attribute name="sample" type="CONST" source="lysozyme"/>
<Attribute name="index" type="PARAM" source="FRAME_INDEX" datatype="INT64"/>
<Attribute name="filled" type="PARAM" source="FILLED" datatype="INT"/>
<Attribute name="beat" type="EPICS_PV" source="BENCH:Heartbeat_RBV" dbrtype="DBR_LONG"/>
</Attributes>"""


class Scans(System):
    """The server of one module, and what writes its images."""

    def __init__(self, folder: Path) -> None:
        tables = f'[run]\nautostart = false\n[hdf5]\nfolder = "{folder}"\n'
        super().__init__(folder, tables, geometry="eiger-8", rate_hz=RATE_HZ)

    def capture(
        self, name: str, seconds: float, *, attributes: str = "", flushes: list[float] | None = None
    ) -> tuple[int, int]:
        """Write images for some seconds; return those written, and those lost. Times of flushes are added, s."""
        self.put("HDF1:NDAttributesFile", attributes)
        for setting, value in {"FileName": name, "FileTemplate": "%s%s.h5", "NumCapture": 0, "LazyOpen": 0}.items():
            self.put(f"HDF1:{setting}", value)
        self.put("HDF1:Capture", 1, wait=False)
        self.until("HDF1:Capture_RBV", "Capture")
        dropped = self.value("HDF1:DroppedArrays_RBV")
        self.put("cam1:ImageMode", "Continuous")
        self.put("cam1:Acquire", 1, wait=False)
        self.until("cam1:Acquire_RBV", "Acquire")
        end_s = time.monotonic() + seconds
        while (now := time.monotonic()) < end_s:
            if flushes is None:
                time.sleep(0.2)
                continue
            self.put("HDF1:FlushNow", 1)
            flushes.append(time.monotonic() - now)
            time.sleep(max(0.0, FLUSH_EVERY_S - flushes[-1]))
        self.put("cam1:Acquire", 0)
        self.put("HDF1:Capture", 0)
        written = self.value("HDF1:NumCaptured_RBV")
        lost = self.value("HDF1:DroppedArrays_RBV") - dropped + self.value("HDF1:NumFilled_RBV")
        (self.folder / f"{name}.h5").unlink()
        return written, lost

    def scan(self) -> tuple[int, float, int]:
        """Scan; return the images that the documents name, the time that the acquisition took, s, and the bad images."""
        words = [sys.executable, "-m", "bench.scan_client", f"ca://{PREFIX}", str(self.folder), str(IMAGES)]
        with subprocess.Popen(words, env=self.environment, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout
            assert client.stdout.readline() == "SCAN\n"
            self.until("cam1:Acquire_RBV", "Acquire")
            began = time.monotonic()
            self.until("cam1:Acquire_RBV", "Done")
            seconds = time.monotonic() - began
            documented = int(client.stdout.readline())
        path = self.folder / f"{FILE}.h5"
        with h5py.File(path) as file:
            images = file["entry/data/data"].shape[0]
            good = int(file["data/BENCH/is_good_frame"][:].sum())
        path.unlink()
        balance = self.value("HDF1:Balance_RBV")
        assert documented == images, f"the documents name {documented} images, the file has {images}: {balance}"
        assert balance == f"complete: {images} images" or good < images, balance
        return documented, seconds, images - good


def _flushes(system: Scans, what: str, repeats: int) -> Row:
    """Return how long FlushNow takes while images are written."""
    flushes: list[float] = []
    found = [system.capture(f"flush{n}", FLUSHES_S, flushes=flushes) for n in range(repeats)]
    rates = [written / FLUSHES_S for written, _ in found]
    flushes.sort()
    percentiles = [1000 * flushes[int(share * (len(flushes) - 1))] for share in (0.5, 0.99, 0.999)]
    note = (
        f"median {percentiles[0]:.1f}, p99 {percentiles[1]:.1f}, most {1000 * flushes[-1]:.1f} ms of {len(flushes)}; "
        f"{min(rates):.0f} to {max(rates):.0f} images/s, {sum(lost for _, lost in found)} lost"
    )
    return Row(f"FlushNow {what}, p99.9", percentiles[2], "ms", 100, note=note)


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the rows."""
    repeats = 1 if quick else 3
    with tempfile.TemporaryDirectory() as folder, Scans(Path(folder)) as system:
        images, seconds, bad = system.scan()
        yield Row("fly scan of 10,000 at 1 kHz: images in the file", images, "images", IMAGES, at_most=False)
        yield Row("the same: bad images", bad, "images", 0, note=f"{IMAGES / seconds:.0f} images a second")
        yield _flushes(system, "at 1 kHz", repeats)
        rates: dict[str, list[float]] = {"with": [], "without": []}
        losses = {"with": 0, "without": 0}
        for n in range(repeats):
            for kind in ("with", "without") if n % 2 else ("without", "with"):
                attributes = ATTRIBUTES if kind == "with" else ""
                written, missing = system.capture(f"{kind}{n}", ATTRIBUTES_S, attributes=attributes)
                rates[kind].append(written / ATTRIBUTES_S)
                losses[kind] += missing
        ratios = [a / b for a, b in zip(rates["with"], rates["without"], strict=True)]
        yield Row(
            "images written with 4 attributes more, against those always kept",
            statistics.median(ratios),
            "x",
            0.98,
            at_most=False,
            note=f"{spread(ratios)}; {losses['with']} images lost with them, {losses['without']} without",
        )
