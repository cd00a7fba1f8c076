"""One side of a stream from one host to another, with nothing but ZMQ: what ``bench.hosts`` runs on both.

``python -m bench.host_stream send|take ADDRESS MESSAGES BYTES [KEYS]`` prints its processor time since the first message, and how long the messages took.
"""

import json
import sys
import time
from pathlib import Path

import zmq

from detectors.curve import load_client, load_pair, own_keys, server_secret


def main() -> None:
    role, address, messages, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    keys = Path(sys.argv[5]) if sys.argv[5:] else None
    context = zmq.Context()
    if role == "send":
        socket = context.socket(zmq.PUSH)
        if keys:
            socket.curve_publickey, socket.curve_secretkey = load_pair(server_secret(keys))
            socket.curve_server = True
        socket.bind(address)
        payload = bytes(size)
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        for _ in range(messages):
            socket.send(payload, copy=False)
    else:
        socket = context.socket(zmq.PULL)
        if keys:
            load_client(own_keys(keys)).use(socket)
        socket.connect(address)
        socket.recv(copy=False)
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        for _ in range(messages - 1):
            socket.recv(copy=False)
    elapsed_s = time.monotonic() - began_s
    socket.close()
    context.term()  # when all is sent
    print(json.dumps({"cpu_s": time.process_time() - began_cpu_s, "elapsed_s": elapsed_s}))


if __name__ == "__main__":
    main()
