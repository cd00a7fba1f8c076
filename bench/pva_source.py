"""A source of images that copies nothing: ``python -m bench.pva_source MODE PV NBYTES COUNT``.

MODE is "raw" (the bare arrays over TCP) or "pva" (NTNDArrays, one message each). It serves one client, sends as fast
as that one takes them, and ends. EPICS_PVA_SERVER_PORT says where.
"""

import contextlib
import mmap
import os
import socket
import sys

import numpy as np

from tests.support.pva_encode import NTNDARRAY, Encoder, ntndarray
from tests.support.pva_server import MONITOR, PvaServer

BUFFERS = 4
WIDTH = 1024


def arrays(nbytes: int) -> list[memoryview]:
    """Return some arrays, in memory of large pages."""
    found = []
    for number in range(BUFFERS):
        memory = mmap.mmap(-1, nbytes)
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
        np.frombuffer(memory, np.uint16)[:] = np.arange(nbytes // 2) * 3 + number
        found.append(memoryview(memory))
    return found


def send_all(sock: socket.socket, parts: list[memoryview]) -> None:
    while parts:
        sent = sock.sendmsg(parts)
        while parts and sent >= parts[0].nbytes:
            sent -= parts.pop(0).nbytes
        if sent:
            parts[0] = parts[0][sent:]


def raw(nbytes: int, count: int) -> None:
    buffers = arrays(nbytes)
    with socket.create_server(("127.0.0.1", int(os.environ["EPICS_PVA_SERVER_PORT"]))) as listener:
        print("READY", flush=True)
        sock, _ = listener.accept()
        with sock:
            for number in range(count):
                send_all(sock, [buffers[number % BUFFERS]])


def pva(pv: str, nbytes: int, count: int) -> None:
    buffers, encoder = arrays(nbytes), Encoder()
    pixels = np.zeros((nbytes // 2 // WIDTH, WIDTH), np.uint16)
    tails = []
    for number in range(count):
        fields = ntndarray(pixels, number)
        tail = b"".join(encoder.value(kind, fields[name]) for name, kind in NTNDARRAY[2].items() if name != "value")
        tails.append(tail + encoder.bits(0))
    del pixels
    with PvaServer(pv, udp=False) as server:
        print("READY", flush=True)
        server.wait_subscribed(timeout_s=30)
        (client,) = server.clients()
        member = list(NTNDARRAY[2]["value"][2]).index("ushortValue")
        head = (
            encoder.pack("IB", client.request_id, 0)
            + encoder.bits(1)
            + encoder.size(member)
            + encoder.size(nbytes // 2)
        )
        with contextlib.suppress(OSError):  # the client goes when it has seen enough
            for number, tail in enumerate(tails):
                size = len(head) + nbytes + len(tail)
                start = server.header(MONITOR, size) + head
                send_all(client.sock, [memoryview(start), buffers[number % BUFFERS], memoryview(tail)])
        client.join(30)


if __name__ == "__main__":
    mode, name, nbytes, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    raw(nbytes, count) if mode == "raw" else pva(name, nbytes, count)
