"""Comparison of the clocks of all hosts with that of the IOC's host, by asking one worker of each for its time."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import zmq.asyncio

from detectors.errors import PebbleDaqError
from detectors.workers.commands import decode, encode
from ioc.clock_offset import Exchange, clock_offset
from ioc.hosts import ClockShown, Host
from ioc.roster import Roster

log = logging.getLogger(__name__)

EVERY_S: Final = 5.0
"""Clocks are compared this often, s: a free clock of 100 ppm moves by half a millisecond meanwhile."""

EXCHANGES: Final = 8
"""Questions to one host at a time, of which the one that took least counts: the first waits for the connection, others for the
threads of both sides."""

_FIRST_S: Final = 1.0
"""While a clock is not known it is asked for this often, s."""
_TIMEOUT_S: Final = 3.0
"""For all questions to one host, s."""
_NS_PER_MS: Final = 1e6


class Clocks:
    """Compares clocks until it is cancelled. ``connect(worker)`` returns a new REQ socket to the commands of a worker."""

    def __init__(self, hosts: Iterable[Host], roster: Roster, connect: Callable[[str], "zmq.asyncio.Socket"]) -> None:
        self._hosts = tuple(hosts)
        self._roster = roster
        self._connect = connect

    async def follow(self) -> None:
        """Compare all clocks again and again."""
        while True:
            await asyncio.gather(*(self._compare(host) for host in self._hosts))
            all_known = all(host.knows_clock(time.monotonic()) for host in self._hosts)
            await asyncio.sleep(EVERY_S if all_known else _FIRST_S)

    async def _compare(self, host: Host) -> None:
        worker = next((worker for worker in host.workers if worker in self._roster.responding), None)
        if worker is None:
            return
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                with self._connect(worker) as socket:
                    exchanges, answer = await exchange(socket, EXCHANGES)
            found = clock_offset(exchanges)
            shown = ClockShown(
                offset_ms=found.offset_ns / _NS_PER_MS,
                round_trip_ms=found.round_trip_ns / _NS_PER_MS,
                state=answer["state"],
                error_ms=answer["error_ms"],
                tai_offset_s=answer["tai_offset_s"],
            )
        except (PebbleDaqError, TimeoutError, zmq.ZMQError, KeyError) as error:
            log.debug("%s: its clock is not known: %s: %s", host.section.name, type(error).__name__, error)
            return
        host.measured(shown, time.monotonic())
        # Snapshots must not seem younger than they are: they are compared with what the worker was asked for.
        self._roster.clock_ahead_ns |= dict.fromkeys(host.workers, found.offset_ns + found.uncertainty_ns)


async def exchange(socket: "zmq.asyncio.Socket", count: int) -> tuple[list[Exchange], Mapping[str, Any]]:
    """Ask a worker ``count`` times for its time; return the exchanges and the last answer. Raises CommandError."""
    found: list[Exchange] = []
    answer: Mapping[str, Any] = {}
    for _ in range(count):
        asked_ns, began_ns = time.time_ns(), time.monotonic_ns()
        await socket.send(encode("clock", _TIMEOUT_S, {}))
        reply = await socket.recv()
        round_trip_ns = time.monotonic_ns() - began_ns
        answer = decode(reply)
        found.append(Exchange(asked_ns, answer["time_ns"], round_trip_ns))
    return found, answer
