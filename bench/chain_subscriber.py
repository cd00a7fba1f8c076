"""One full live subscriber, as a user would write it: takes every frame of a module until none comes for a while.

``python -m bench.chain_subscriber ADDRESS SHAPE DTYPE`` prints how many frames it got, and how many pulses are missing between them.
"""

import json
import sys

from detectors.api import ModuleStream

QUIET_S = 3.0


def main(address: str, rows: str, columns: str, dtype: str) -> None:
    frames, pulses = 0, list[int]()
    with ModuleStream(address, (int(rows), int(columns)), dtype, timeout_s=QUIET_S) as stream:
        print("READY", flush=True)
        while not frames:
            for head, _ in stream:
                frames += 1
                pulses.append(head.pulse_id)
    missing = pulses[-1] - pulses[0] + 1 - len(set(pulses))
    print(json.dumps({"frames": frames, "missing": missing}), flush=True)


main(*sys.argv[1:])
