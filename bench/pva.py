"""PVA images from a source that copies nothing: our client and p4p's against bare TCP, all into the same slots."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from bench.table import Row, median_ratio, spread
from tests.support.epics_env import epics_variables

PV = "BENCH:Image"
SIZES_MIB = (1, 4, 16, 74)
RUN_MB = 3000
LEAST_IMAGES = 24
CLIENTS = ("raw", "direct", "p4p-untuned", "p4p")


def run(client: str, mib: int, megabytes: float) -> dict[str, float]:
    """Run one source and one receiver, and return what the receiver measured."""
    nbytes = mib << 20
    count = max(LEAST_IMAGES, int(megabytes * 1e6 / nbytes))
    env = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")} | epics_variables()
    env["EPICS_PVA_NAME_SERVERS"] = f"127.0.0.1:{env['EPICS_PVA_SERVER_PORT']}"
    env["EPICS_PVA_ADDR_LIST"] = ""
    source = [
        sys.executable,
        "-m",
        "bench.pva_source",
        "raw" if client == "raw" else "pva",
        PV,
        str(nbytes),
        str(count),
    ]
    receiver = [sys.executable, "-m", "bench.pva_receiver", client, PV, str(nbytes), str(count)]
    with subprocess.Popen(source, env=env, stdout=subprocess.PIPE, text=True) as sending:
        try:
            assert sending.stdout is not None
            assert sending.stdout.readline() == "READY\n"
            done = subprocess.run(receiver, env=env, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
        finally:
            sending.kill()
    result = json.loads(done.stdout)
    assert result, f"{client} at {mib} MiB saw no last image"
    return result


def rows(*, quick: bool = False) -> Iterator[Row]:
    """Measure. ``quick`` takes one repeat of everything."""
    repeats, megabytes = (1, RUN_MB / 3) if quick else (5, RUN_MB)
    for mib in SIZES_MIB:
        found: dict[str, list[dict[str, float]]] = {client: [] for client in CLIENTS}
        for _ in range(repeats):
            for client in CLIENTS:
                found[client].append(run(client, mib, megabytes))
        rate = {client: [r["mb_per_s"] for r in results] for client, results in found.items()}
        cost = {client: [r["cpu_per_gb"] for r in results] for client, results in found.items()}
        largest = mib == SIZES_MIB[-1]
        for client in CLIENTS:
            missed = sum(r["missed"] for r in found[client])
            yield Row(
                f"{client}, {mib} MiB",
                statistics.median(rate[client]),
                "MB/s",
                note=f"{statistics.median(cost[client]):.2f} CPU s/GB, {spread(rate[client])} MB/s, {missed:.0f} missed",
            )
        yield Row(
            f"direct / raw TCP, {mib} MiB, rate",
            median_ratio(rate["direct"], rate["raw"]),
            "x",
            0.8 if largest else None,
            at_most=False,
        )
        yield Row(
            f"direct / raw TCP, {mib} MiB, CPU per GB",
            median_ratio(cost["direct"], cost["raw"]),
            "x",
            1.3 if largest else None,
        )
        yield Row(
            f"direct / p4p untuned, {mib} MiB, rate",
            median_ratio(rate["direct"], rate["p4p-untuned"]),
            "x",
            2.5 if largest else None,
            at_most=False,
        )
