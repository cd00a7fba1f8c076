"""Run every benchmark and write docs/reference/benchmarks.md: ``python -m bench [--quick] [NAME...]``."""

import argparse
import importlib
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import describe
from bench.table import MARKDOWN_HEAD, Row

BENCHES = (
    "udp",
    "chain",
    "pva",
    "stream",
    "live",
    "compression",
    "hdf5",
    "bluesky",
    "idle",
    "ioc",
    "web",
    "hosts",
)
"""Modules of ``bench`` with ``rows(*, quick) -> Iterator[Row]``; add yours."""

OUTPUT = Path(__file__).parent.parent / "docs" / "reference" / "benchmarks.md"

INTRODUCTION = """\
# Benchmarks

Written by `make bench`. Figures are ratios of runs made right after one another, medians of five unless a row says otherwise, in
alternating order: absolute times on a shared machine say little. CPU s/GB is user + system time of the whole process.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one repeat of everything; writes no file")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; writes no file")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHES):
        parser.error(f"found {', '.join(sorted(unknown))}, expected of {', '.join(BENCHES)}")
    machine, started = describe(), time.monotonic()
    print(machine, flush=True)
    text = [INTRODUCTION, f"{datetime.now(UTC):%Y-%m-%d}, {machine}.", ""]
    failed: list[str] = []
    for name in options.names or BENCHES:
        module, began = importlib.import_module(f"bench.{name}"), time.monotonic()
        text += [f"## {name}", "", module.__doc__.strip(), "", MARKDOWN_HEAD]
        try:
            for row in module.rows(quick=options.quick):
                show(row)
                text.append(row.markdown())
        except Exception:  # noqa: BLE001  the others are still worth measuring
            traceback.print_exc()
            failed.append(name)
        took = f"{name}: {time.monotonic() - began:.0f} s{', failed' if name in failed else ''}"
        print(took, flush=True)
        text += ["", f"{took}.", ""]
    seconds = time.monotonic() - started
    print(f"{seconds:.0f} s")
    if not options.quick and not options.names:
        OUTPUT.write_text("\n".join([*text, f"The whole run took {seconds:.0f} s."]) + "\n")
        print(f"written to {OUTPUT}")
    if failed:
        sys.exit(f"bench: failed: {', '.join(failed)}")


def show(row: Row) -> None:
    verdict = {None: "", True: "met", False: "NOT MET"}[row.met]
    print(f"{row.name}: {row.figure:.3g} {row.unit}  {row.target_text} {verdict}  {row.note}", flush=True)


if __name__ == "__main__":
    main()
