"""A caproto server: a waveform, a number, an enum and a text, written as told."""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from caproto import ChannelType
from caproto.asyncio.server import Context
from caproto.server import PVGroup, pvproperty

from tests.support.images import image


class Records(PVGroup):
    wave = pvproperty(name="Wave", value=[0], dtype=ChannelType.LONG, max_length=1_000_000)
    shorts = pvproperty(name="Shorts", value=[0], dtype=ChannelType.INT, max_length=1_000_000)
    number = pvproperty(name="Number", value=1.5)
    choice = pvproperty(name="Choice", value="yes", dtype=ChannelType.ENUM, enum_strings=["no", "yes"])
    text = pvproperty(name="Text", value="ready", dtype=ChannelType.STRING)


async def main(prefix: str) -> None:
    records = Records(prefix=prefix)
    context = Context(records.pvdb, interfaces=["127.0.0.1"])

    async def listen(async_lib: Any) -> None:
        loop = asyncio.get_running_loop()
        print("READY", flush=True)  # noqa: T201
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            request = json.loads(line)
            value = request.get("value")
            if "seed" in request:
                value = image(request["dtype"], [request["count"]], request["seed"])
            await getattr(records, request["record"]).write(np.asarray(value) if isinstance(value, list) else value)
            print("null", flush=True)  # noqa: T201
        task.cancel()

    task = asyncio.create_task(context.run(log_pv_names=False, startup_hook=listen))
    await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
