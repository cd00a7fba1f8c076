"""A source of images that copies nothing: ``python -m bench.pva_source MODE PV NBYTES``.

MODE is "raw" (the bare arrays over TCP), "pva" (NTNDArrays, one message each, to one client) or "pva-each" (to another client
each time, as with "raw"). It serves at EPICS_PVA_SERVER_PORT. For each number on its input it prepares so many images, says
PREPARED, waits for an empty line, sends them as fast as they are taken, and says SENT. It ends with its input.
"""

import contextlib
import mmap
import os
import socket
import sys
from collections.abc import Iterator

import numpy as np

from sim.pva_encode import NTNDARRAY, Encoder, ntndarray
from sim.pva_server import MONITOR, SimulatedPvaServer

BUFFERS = 4
WIDTH = 1024
PATIENCE_S = 60


def arrays(nbytes: int) -> list[memoryview]:
    """Return some arrays, in memory of large pages."""
    found = []
    for number in range(BUFFERS):
        memory = mmap.mmap(-1, nbytes)
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
        np.frombuffer(memory, np.uint16).reshape(-1, WIDTH)[:] = np.arange(WIDTH) * 3 + number
        found.append(memoryview(memory))
    return found


def send_all(sock: socket.socket, parts: list[memoryview]) -> None:
    while parts:
        sent = sock.sendmsg(parts)
        while parts and sent >= parts[0].nbytes:
            sent -= parts.pop(0).nbytes
        if sent:
            parts[0] = parts[0][sent:]


def say(word: str) -> None:
    print(word, flush=True)


def orders() -> Iterator[int]:
    """Yield how many images to prepare and send, until the input ends."""
    for line in sys.stdin:
        yield int(line)
        say("SENT")


def wait_for_go() -> None:
    say("PREPARED")
    sys.stdin.readline()


def raw(nbytes: int) -> None:
    buffers = arrays(nbytes)
    with socket.create_server(("127.0.0.1", int(os.environ["EPICS_PVA_SERVER_PORT"]))) as listener:
        say("READY")
        for count in orders():
            sock, _ = listener.accept()
            with sock:
                wait_for_go()
                for number in range(count):
                    send_all(sock, [buffers[number % BUFFERS]])


def tails(encoder: Encoder, nbytes: int, numbers: range) -> list[bytes]:
    """Return what comes behind the pixels of the images with these numbers."""
    pixels = np.zeros((nbytes // 2 // WIDTH, WIDTH), np.uint16)
    found = []
    for number in numbers:
        fields = ntndarray(pixels, number)
        tail = b"".join(encoder.value(kind, fields[name]) for name, kind in NTNDARRAY[2].items() if name != "value")
        found.append(tail + encoder.bits(0))
    return found


def pva(pv: str, nbytes: int, *, each: bool) -> None:
    buffers, encoder, first, clients = arrays(nbytes), Encoder(), 0, 0
    member = list(NTNDARRAY[2]["value"][2]).index("ushortValue")
    with SimulatedPvaServer(pv, udp=False) as server:
        say("READY")
        for count in orders():
            clients = clients + 1 if each else 1
            server.wait_subscribed(clients, timeout_s=PATIENCE_S)
            client = server.clients()[-1]
            first = 0 if each else first
            behind = tails(encoder, nbytes, range(first, first + count))
            first += count
            head = encoder.pack("IB", client.request_id, 0) + encoder.bits(1)
            head += encoder.size(member) + encoder.size(nbytes // 2)
            images = list[list[memoryview]]()
            for number, tail in enumerate(behind):
                start = server.header(MONITOR, len(head) + nbytes + len(tail)) + head
                images.append([memoryview(start), buffers[number % BUFFERS], memoryview(tail)])
            wait_for_go()
            for parts in images:
                send_all(client.sock, parts)


if __name__ == "__main__":
    mode, name, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    raw(size) if mode == "raw" else pva(name, size, each=mode == "pva-each")
