"""A simulated camera on Channel Access: areaDetector's names and a waveform of the pattern, served by caproto."""

import asyncio
import dataclasses
import functools
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from typing import IO, Any, Final

import numpy as np
from caproto import ChannelType
from caproto.asyncio.server import Context
from caproto.server import PVGroup, SubGroup
from caproto.server import pvproperty as _pvproperty

from detectors.errors import ConfigError
from detectors.thinning import DATA_TYPES
from detectors.wire.ntndarray import EPICS_EPOCH_S
from sim.clock import Schedule
from sim.pattern import fill_pattern

pvproperty: Any = _pvproperty  # its annotations do not know caproto's own channel types

IMAGE_ARRAY: Final = "image1:ArrayData"
"""areaDetector's record of the pixels."""

_CHANNEL_TYPES: Final = {
    "int8": ChannelType.CHAR,
    "uint8": ChannelType.CHAR,
    "int16": ChannelType.INT,
    "uint16": ChannelType.LONG,  # Channel Access has no unsigned 16 bits: they travel as 32
    "int32": ChannelType.LONG,
    "float32": ChannelType.FLOAT,
    "float64": ChannelType.DOUBLE,
}
"""How each pixel type travels; the others have no place in Channel Access."""


class _Cam(PVGroup):
    """areaDetector's driver records, as far as a client looks at them."""

    Acquire_RBV = pvproperty(value="Done", enum_strings=["Done", "Acquire"], dtype=ChannelType.ENUM, read_only=True)
    AcquirePeriod_RBV = pvproperty(value=0.0, precision=4, units="s", read_only=True)
    ArraySizeX_RBV = pvproperty(value=0, units="pixels", read_only=True)
    ArraySizeY_RBV = pvproperty(value=0, units="pixels", read_only=True)
    ArraySizeZ_RBV = pvproperty(value=0, units="pixels", read_only=True)
    DataType_RBV = pvproperty(
        value="UInt16", enum_strings=[*DATA_TYPES.values()], dtype=ChannelType.ENUM, read_only=True
    )
    UniqueId_RBV = pvproperty(value=0, read_only=True)
    ArrayCounter_RBV = pvproperty(value=0, read_only=True)
    Temperature_RBV = pvproperty(
        value=20.0, precision=2, units="C", upper_warning_limit=30.0, upper_alarm_limit=40.0, read_only=True
    )

    async def _follow(self, instance: Any, value: Any) -> None:  # noqa: ARG002
        """Follow with the readback; images are posted while it says Acquire."""
        await self.Acquire_RBV.write(value)

    Acquire = pvproperty(
        put=_follow, value="Done", enum_strings=["Done", "Acquire"], dtype=ChannelType.ENUM, record="bo"
    )

    @property
    def acquiring(self) -> bool:
        """Whether images are to be posted."""
        return self.Acquire_RBV.value in ("Acquire", 1)


@dataclass(slots=True)
class CaReport:
    """What a camera posted."""

    images: int = 0
    first_pulse: int = 0
    last_pulse: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return it for JSON."""
        return dataclasses.asdict(self)


class CaCamera:
    """Serves ``<prefix>cam1:...`` and the pixels as ``<prefix><array>``. The image of event n carries its pulse and its time.

    It acquires from the start; ``cam1:Acquire`` stops and starts it. The ports are those of EPICS_CA_SERVER_PORT and
    EPICS_CAS_BEACON_PORT. Raises ConfigError for a pixel type that Channel Access cannot carry.
    """

    def __init__(
        self,
        prefix: str,
        shape: tuple[int, ...],
        dtype: str,
        schedule: Schedule,
        *,
        module_id: int = 0,
        array: str = IMAGE_ARRAY,
    ) -> None:
        if dtype not in _CHANNEL_TYPES:
            raise ConfigError(f"dtype: found {dtype}, expected one of {', '.join(_CHANNEL_TYPES)} over Channel Access")
        self.schedule = schedule
        self.report = CaReport()
        self._module_id = module_id
        self._image = np.zeros(shape, dtype)
        self._wire_dtype = "int32" if dtype == "uint16" else dtype
        self._group: Any = _group(prefix, array, prod(shape), _CHANNEL_TYPES[dtype])

    async def run(
        self,
        *,
        frames: int | None = None,
        seconds: float | None = None,
        interface: str = "127.0.0.1",
        ready: Callable[[], None] | None = None,
        epoch_from: IO[str] | None = None,
    ) -> CaReport:
        """Serve until so many images are posted, the time is over, or SIGTERM or SIGINT; return what was posted.

        ``ready`` is called once clients can connect. The epoch is the first line of ``epoch_from``, whose end ends it.
        Raises OSError when the interface or the ports cannot be had, ConfigError for a line that is no time.
        """
        up = asyncio.Event()
        context = Context(self._group.pvdb, interfaces=[interface])

        async def started(_library: Any) -> None:
            up.set()

        served = asyncio.create_task(context.run(startup_hook=started))
        loop = asyncio.get_running_loop()
        lines: asyncio.StreamReader | None = None
        if epoch_from is not None:
            lines = asyncio.StreamReader()
            await loop.connect_read_pipe(functools.partial(asyncio.StreamReaderProtocol, lines), epoch_from)
        work = asyncio.create_task(self._post_all(up, frames, ready, lines))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)
        try:
            done, _ = await asyncio.wait({served, work}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with suppress(asyncio.CancelledError):
                    task.result()
        finally:
            for task in (work, served):
                task.cancel()
            await asyncio.gather(work, served, return_exceptions=True)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        return self.report

    async def _post_all(
        self,
        up: asyncio.Event,
        frames: int | None,
        ready: Callable[[], None] | None,
        lines: asyncio.StreamReader | None,
    ) -> None:
        await up.wait()
        await self._describe()
        if ready:
            ready()
        if lines is None:
            self.schedule = self.schedule.begun()
            await self._post(frames)
            return
        line = await lines.readline()
        if not line:
            return
        if not line.strip().isdigit():
            raise ConfigError(f"standard input: found {line!r}, expected a POSIX time in ns")
        self.schedule = replace(self.schedule, epoch_ns=int(line), shared=True)
        posting, ended = asyncio.create_task(self._post(frames)), asyncio.create_task(lines.read(1))
        try:
            await asyncio.wait({posting, ended}, return_when=asyncio.FIRST_COMPLETED)
            if posting.done():
                posting.result()
        finally:
            posting.cancel()
            ended.cancel()

    async def _describe(self) -> None:
        cam = self._group.cam
        sizes = (*reversed(self._image.shape), 0, 0)
        for record, size in zip((cam.ArraySizeX_RBV, cam.ArraySizeY_RBV, cam.ArraySizeZ_RBV), sizes, strict=False):
            await record.write(size)
        await cam.DataType_RBV.write(DATA_TYPES[self._image.dtype.name])
        await cam.AcquirePeriod_RBV.write(self.schedule.period_ns / 1e9)
        await cam.Acquire.write("Acquire")

    async def _post(self, frames: int | None) -> None:
        cam, data, r = self._group.cam, self._group.image.array, self.report
        n = self.schedule.next_event(time.time_ns())
        while frames is None or r.images < frames:
            time_ns = self.schedule.time_ns(n)
            await asyncio.sleep(max(0.0, (time_ns - time.time_ns()) / 1e9))
            if cam.acquiring:
                pulse_id = self.schedule.pulse_id(n)
                fill_pattern(self._image, pulse_id, self._module_id)
                stamp = (time_ns // 10**9 - EPICS_EPOCH_S, time_ns % 10**9)
                await data.write(self._image.reshape(-1).astype(self._wire_dtype), timestamp=stamp)
                await cam.UniqueId_RBV.write((self.schedule.first_pulse + n) & 0x7FFFFFFF, timestamp=stamp)
                if not r.images:
                    r.first_pulse = pulse_id
                r.last_pulse = pulse_id
                r.images += 1
                await cam.ArrayCounter_RBV.write(r.images, timestamp=stamp)
            n += 1


def _group(prefix: str, array_name: str, pixels: int, channel_type: ChannelType) -> PVGroup:
    class Image(PVGroup):
        array = pvproperty(name=array_name, value=[0], max_length=pixels, dtype=channel_type, read_only=True)

    class Camera(PVGroup):
        cam = SubGroup(_Cam, prefix="cam1:")
        image = SubGroup(Image, prefix="")

    return Camera(prefix=prefix)
