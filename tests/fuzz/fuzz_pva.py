"""Fuzz the pvAccess parser: ``pip install atheris; python tests/fuzz/fuzz_pva.py [-max_total_time=60] [corpus]``.

The first byte says how the input is cut and in which byte order the connection was opened; the rest is what the server
says after a proper opening. Anything but PvaError, or memory beyond what the input justifies, is a finding.
"""

import contextlib
import random
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["detectors.pva"]):
    from detectors.pva.connection import ArrayBegins, MonitorConnection
    from detectors.pva.encoding import PvaError
    from detectors.pva.messages import parse_search_datagram

from sim.pva_encode import NTNDARRAY
from tests.support.pva_talk import Talk

OPENINGS = [Talk(big=big).opening(NTNDARRAY) for big in (False, True)]


def one_input(data: bytes) -> None:
    if not data:
        return
    how, said = data[0], data[1:]
    with contextlib.suppress(PvaError):
        parse_search_datagram(said)
    connection = MonitorConnection("PV", "me", "here")
    stream = (OPENINGS[how & 1] if how & 2 else b"") + said
    pieces, at = random.Random(how), 0
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, ArrayBegins):
                connection.stream.supply(memoryview(bytearray(event.nbytes)) if event.nbytes < 1 << 20 else None)
            elif event is None:
                if at == len(stream):
                    return
                wanted = connection.stream.want()[0]
                take = min(wanted.nbytes, len(stream) - at, pieces.choice([1, 9, 1 << 16]))
                wanted[:take] = stream[at : at + take]
                connection.stream.received(take)
                at += take
    except PvaError:
        pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
