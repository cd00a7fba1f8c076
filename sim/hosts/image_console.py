"""A client of an image stream, on a host of its own: ``python -m sim.hosts.image_console ADDRESS KEYS ROWS``.

``images`` waits until the image of a pulse has come, and prints all so far: pulse_id, whether it is good, and which modules, of so
many rows each, have the pixels that the simulated detector has sent.
"""

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from detectors.api import ImageHead, ImageStream
from detectors.curve import own_keys
from sim.console import serve
from sim.pattern import frame_pattern
from sim.waiting import until


def main() -> None:
    """Collect images, and tell of them."""
    address, keys, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    taken: list[tuple[ImageHead, np.ndarray | None]] = []
    found: list[tuple[int, bool, list[int]]] = []
    stop = threading.Event()
    stream = ImageStream(address, "reduced", keys=own_keys(keys), stop=stop)

    def collect() -> None:
        for header, pixels in stream:
            taken.append((header.head, pixels))  # to be looked at later: a slow consumer would get fewer pixels

    def images(last_pulse: int) -> dict[str, Any]:
        until(lambda: taken[-1:], lambda last: last and last[0][0].pulse_id >= last_pulse)
        for head, pixels in taken[len(found) :]:
            right = [] if pixels is None else right_modules(head.pulse_id, pixels, rows)
            found.append((head.pulse_id, head.is_good_frame, right))
        return {"images": found}

    thread = threading.Thread(target=collect)
    thread.start()
    serve({"images": images})
    stop.set()
    thread.join()
    stream.close()


def right_modules(pulse_id: int, pixels: np.ndarray, rows: int) -> list[int]:
    """Return which modules of an image, of so many rows each, have the pixels that were sent."""
    modules = enumerate(pixels.reshape(-1, rows, pixels.shape[-1]))
    return [
        n for n, module in modules if np.array_equal(module, frame_pattern(pulse_id, n, module.shape, module.dtype))
    ]


if __name__ == "__main__":
    main()
