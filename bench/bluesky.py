"""Files of scans at 1 kHz: a module of 256 x 512 pixels of 8 bits (128 KiB), received, put into images and written with SWMR.

Server, simulated module and client share the processors and the disk. The scan is stock ophyd-async's, 10,000 images in one
acquisition, its documents collected every 0.5 s. FlushNow is put with completion every 5 ms while images are written. The
attributes are PulseId, Damage and so on, which are always kept, and beside them one constant, two of each image, and one PV.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import h5py
from p4p.client.thread import Context

from bench.scan_client import FILE
from bench.table import Row, spread
from ioc.demo.children import Child, clean_environment, epics_environment, free_ports

RATE_HZ = 1000
IMAGES = 10_000
GEOMETRY = "eiger-8"
PREFIX = "BENCH:SCAN:"

FLUSH_EVERY_S = 0.005
SECONDS = 5.0
"""Length of one capture, of flushes or of attributes."""

ATTRIBUTES = """<Attributes>
<Attribute name="sample" type="CONST" source="lysozyme"/>
<Attribute name="index" type="PARAM" source="FRAME_INDEX" datatype="INT64"/>
<Attribute name="filled" type="PARAM" source="FILLED" datatype="INT"/>
<Attribute name="beat" type="EPICS_PV" source="BENCH:SCAN:Heartbeat_RBV" dbrtype="DBR_LONG"/>
</Attributes>"""


class System:
    """A server of one module, and the module. Context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (self._port, *epics) = free_ports(6)
        self.config = folder / "scan.toml"
        self.config.write_text(
            f'[detector]\nname = "SCAN"\nprefix = "{PREFIX}"\n[run]\nautostart = false\n[ioc]\nautosave = false\n'
            f'[[udp]]\nname = "M00"\nport = {self._port}\naddress = "127.0.0.1"\ngeometry = "{GEOMETRY}"\n'
            f'pulse_from = "bunchid"\n[hdf5]\nfolder = "{folder}"\n'
        )
        ca, repeater, pva, search, camera = epics
        self.environment = clean_environment() | epics_environment(ca, repeater, pva, search, camera)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            server = Child("server", ["run", str(self.config)], self.environment)
            stack.callback(server.end)
            server.wait_ready(time.monotonic() + 60)
            variables = {name: value for name, value in self.environment.items() if name.startswith("EPICS_")}
            self._pva = Context("pva", conf=variables, useenv=False, nt=False)
            stack.callback(self._pva.close)
            self.until("M00:State_RBV", "Idle")
            self.until("HDF1:State_RBV", "Idle")
            pace = ["--rate", str(RATE_HZ), "--seconds", "300", "--geometry", GEOMETRY]
            module = Child("module", ["sim", "udp", f"127.0.0.1:{self._port}", *pace], self.environment)
            stack.callback(module.end)
            module.wait_ready(time.monotonic() + 60)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def value(self, name: str) -> Any:
        found = self._pva.get(PREFIX + name, timeout=20.0).value
        return found.choices[found.index] if hasattr(found, "choices") else found

    def put(self, name: str, value: Any, *, wait: bool = True) -> None:
        self._pva.put(PREFIX + name, value, wait=wait, timeout=60.0)

    def until(self, name: str, wanted: Any) -> None:
        end_s = time.monotonic() + 60
        while (found := self.value(name)) != wanted:
            assert time.monotonic() < end_s, f"{name} is {found}, expected {wanted}"
            time.sleep(0.02)

    def capture(self, name: str, *, attributes: str = "", flushes: list[float] | None = None) -> tuple[int, int]:
        """Write images for a while; return those written, and those lost. Times of flushes are added, s."""
        self.put("HDF1:NDAttributesFile", attributes)
        for setting, value in {"FileName": name, "FileTemplate": "%s%s.h5", "NumCapture": 0, "LazyOpen": 0}.items():
            self.put(f"HDF1:{setting}", value)
        self.put("HDF1:Capture", 1, wait=False)
        self.until("HDF1:Capture_RBV", "Capture")
        dropped = self.value("HDF1:DroppedArrays_RBV")
        self.put("cam1:ImageMode", "Continuous")
        self.put("cam1:Acquire", 1, wait=False)
        self.until("cam1:Acquire_RBV", "Acquire")
        end_s = time.monotonic() + SECONDS
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
            good = int(file["data/SCAN/is_good_frame"][:].sum())
        path.unlink()
        balance = self.value("HDF1:Balance_RBV")
        assert documented == images, f"the documents name {documented} images, the file has {images}: {balance}"
        assert balance == f"complete: {images} images" or good < images, balance
        return documented, seconds, images - good


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the rows."""
    repeats = 1 if quick else 3
    with tempfile.TemporaryDirectory() as folder, System(Path(folder)) as system:
        scans = [system.scan() for _ in range(repeats)]
        images = statistics.median(found[0] for found in scans)
        bad = [found[2] for found in scans]
        seconds = statistics.median(found[1] for found in scans)
        yield Row("fly scan of 10,000 at 1 kHz: images in the file", images, "images", IMAGES, at_most=False)
        yield Row(
            "the same: bad images",
            statistics.median(bad),
            "images",
            0,
            note=f"{bad}; {IMAGES / seconds:.0f} images a second",
        )
        flushes: list[float] = []
        lost = [system.capture(f"flush{n}", flushes=flushes)[1] for n in range(repeats)]
        flushes.sort()
        percentiles = [1000 * flushes[int(share * (len(flushes) - 1))] for share in (0.5, 0.99, 0.999)]
        note = f"median {percentiles[0]:.1f}, p99 {percentiles[1]:.1f} ms of {len(flushes)}; {sum(lost)} images lost"
        yield Row("FlushNow at 1 kHz, p99.9", percentiles[2], "ms", 100, note=note)
        rates: dict[str, list[float]] = {"with": [], "without": []}
        losses = 0
        for n in range(repeats):
            for kind in ("with", "without") if n % 2 else ("without", "with"):
                written, missing = system.capture(f"{kind}{n}", attributes=ATTRIBUTES if kind == "with" else "")
                rates[kind].append(written / SECONDS)
                losses += missing
        ratios = [a / b for a, b in zip(rates["with"], rates["without"], strict=True)]
        note = f"{spread(ratios)}; {losses} images lost"
        yield Row(
            "images written with 4 attributes more, against those always kept",
            statistics.median(ratios),
            "x",
            0.98,
            at_most=False,
            note=note,
        )
