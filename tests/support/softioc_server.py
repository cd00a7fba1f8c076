"""A soft-IOC with one waveform, served over Channel Access and PV Access at once, written as told."""

import ctypes
import sys

from epicscorelibs.ioc import dbCore
from softioc import asyncio_dispatcher, builder, softioc

from sim.console import serve
from tests.support.images import image


def main(device: str, elements: str) -> None:
    ctypes.c_int.in_dll(dbCore, "dbThreadRealtimeLock").value = 0  # as root EPICS would lock all memory
    builder.SetDeviceName(device)
    wave = builder.WaveformIn("WAVE", length=int(elements), datatype="int32", initial_value=[0] * int(elements))
    builder.LoadDatabase()
    softioc.iocInit(asyncio_dispatcher.AsyncioDispatcher())
    serve({"post": lambda seed: wave.set(image("int32", (int(elements),), seed))})


if __name__ == "__main__":
    main(*sys.argv[1:])
