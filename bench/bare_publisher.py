"""Bare ZMQ under measurement: sends FRAMES images of 1 MiB at RATE to the one subscriber that it waits for.

usage: python -m bench.bare_publisher ADDRESS FRAMES RATE; prints the processor time per GB.
"""

import json
import sys
import time

import numpy as np
import zmq

IMAGE_BYTES = 1 << 20
SLOTS = 64


def main(address: str, frames: int, rate: float) -> None:
    images = np.ones((SLOTS, IMAGE_BYTES), np.uint8)
    context = zmq.Context()
    socket = context.socket(zmq.XPUB)
    socket.bind(address)
    print("READY", flush=True)
    socket.recv()
    began, used = time.monotonic(), time.process_time()
    for n in range(frames):
        time.sleep(max(0.0, began + n / rate - time.monotonic()))
        socket.send(bytes(40), zmq.SNDMORE)
        socket.send(images[n % SLOTS].data)
    time.sleep(0.2)
    print(json.dumps({"cpu_per_gb": (time.process_time() - used) / (frames * IMAGE_BYTES / 1e9)}), flush=True)
    context.destroy(linger=0)


main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
