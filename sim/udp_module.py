"""A simulated UDP detector module: sends the pattern in the packets of its geometry, by sendmmsg, paced in bursts."""

import ctypes
import dataclasses
import errno
import os
import socket
import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.errors import HostError
from detectors.geometry import ModuleGeometry
from detectors.wire.headers import HEADERS
from sim.clock import CATCH_UP, Schedule, Stop, events
from sim.faults import FaultRates, PacketPlan, plan_frame
from sim.pattern import fill_pattern

_MMSGHDR: Final = np.dtype(
    {
        "names": ["name", "namelen", "iov", "iovlen", "control", "controllen", "flags", "len"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
"""Linux's ``struct mmsghdr`` on a 64-bit machine."""
_IOVEC: Final = np.dtype([("base", "u8"), ("len", "u8")])
_SO_SNDBUFFORCE: Final = 32

SEND_BUFFER: Final = 4 << 20
"""Asked of the kernel, bytes: a few bursts."""

SPREAD: Final = 0.8
"""Part of the period over which a frame's packets are spread, at most."""

LONGEST_SPREAD_NS: Final = 20_000_000
"""However long the period: a detector sends a frame at once when it is read out."""

_TICKS_PER_S: Final = 10_000_000
"""The header's timestamp counts a 10 MHz clock. Source: slsDetectorPackage."""

_DETECTOR_TYPES: Final = {"eiger": 1, "jungfrau": 3}
"""detectortype of the header by the first word of the geometry's name. Source: slsDetectorPackage."""

_libc = ctypes.CDLL(None, use_errno=True)
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
_sendmmsg.restype = ctypes.c_int


@dataclass(slots=True)
class SendReport:
    """What a sender did: what a receiver must have counted, if nothing else was lost."""

    module_id: int
    packets_per_frame: int
    frames: int = 0
    complete: int = 0
    """Frames of which every packet was sent."""
    empty: int = 0
    """Frames of which no packet was sent."""
    packets: int = 0
    """Packets sent, those sent twice counted twice."""
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    first_pulse: int = 0
    last_pulse: int = 0
    first_frame: int = 0
    last_frame: int = 0
    elapsed_s: float = 0.0
    sender_cpu_s: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """Return it for JSON."""
        return dataclasses.asdict(self)


class UdpModuleSender:
    """Sends frames of one module to ``address``.

    Event n of the schedule is frame_index ``first_frame + n`` and pulse ``schedule.pulse_id(n)``. ``module_id``, ``row`` and
    ``column`` are those of the header; the pattern is that of module ``number``, by default ``module_id``. Without
    ``bunchid`` the header has 0 there, as detectors send it that do not know the pulse. The header table and
    the message table are built once; per frame only the fields that change and the pixels are written.
    Raises HostError when the socket refuses.
    """

    def __init__(
        self,
        address: tuple[str, int],
        geometry: ModuleGeometry,
        schedule: Schedule,
        *,
        module_id: int = 0,
        row: int = 0,
        column: int = 0,
        number: int | None = None,
        bunchid: bool = True,
        first_frame: int = 1,
        daq_rec: int = 0,
        faults: FaultRates | None = None,
        seed: int = 0,
        burst: int = 32,
    ) -> None:
        self.geometry = geometry
        self.schedule = schedule
        self.number = module_id if number is None else number
        self.bunchid = bunchid
        self.first_frame = first_frame
        self.faults = faults or FaultRates()
        self.seed = seed
        self.burst = burst
        packets = geometry.packets_per_frame
        self.report = SendReport(module_id, packets)
        self._layout = HEADERS[geometry.header]
        self._headers = np.zeros(packets, self._layout)
        self._headers["packetnum"] = np.arange(packets)
        self._headers["moduleID"], self._headers["xCoord"], self._headers["yCoord"] = module_id, row, column
        self._headers["debug"] = daq_rec
        self._headers["exptime"] = 1000
        self._headers["detectortype"] = _DETECTOR_TYPES.get(geometry.name.partition("-")[0], 0)
        self._headers["headerVersion"] = 2
        self._pixels = np.zeros(geometry.frame_bytes, np.uint8)
        self._pattern = self._pixels if geometry.layout.is_packed else geometry.layout.read(self._pixels)
        self._messages = self._build_messages(address)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, SEND_BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def send_frame(self, n: int, stop: Stop | None = None) -> PacketPlan:
        """Send frame n; paced in bursts when ``stop`` is given, else at once. Return what was sent."""
        pulse_id = self.schedule.pulse_id(n)
        frame = self.first_frame + n
        self._headers["framenum"] = frame
        self._headers["bunchid"] = pulse_id if self.bunchid else 0
        self._headers["timestamp"] = (self.schedule.time_ns(n) - self.schedule.epoch_ns) * _TICKS_PER_S // 10**9
        fill_pattern(self._pattern, pulse_id, self.number)
        packets = self.geometry.packets_per_frame
        plan = plan_frame(self.faults, packets, seed=self.seed, stream=self.number, frame=frame)
        messages = self._messages[plan.order]
        due_ns = self.schedule.time_ns(n)
        spread_ns = min(self.schedule.period_ns * SPREAD, LONGEST_SPREAD_NS) if stop else 0
        spacing_ns = spread_ns * self.burst / max(1, messages.size)
        sent_ns = time.time_ns()
        for i, first in enumerate(range(0, messages.size, self.burst)):
            # A frame once begun is sent whole, stop or not: the report counts whole frames. A late one comes faster.
            if i and spacing_ns:
                next_ns = max(due_ns + i * spacing_ns, sent_ns + spacing_ns / CATCH_UP)
                time.sleep(max(0.0, (next_ns - time.time_ns()) / 1e9))
                sent_ns = time.time_ns()
            self._send(messages[first : first + self.burst])
        self._count(plan, pulse_id, frame)
        return plan

    def run(self, stop: Stop, *, frames: int | None = None, seconds: float | None = None) -> SendReport:
        """Send frames by the schedule until ``frames`` are sent, ``seconds`` are over, or the stop; return the report."""
        started, cpu = time.monotonic(), time.process_time()
        for n in events(self.schedule, stop, count=frames, seconds=seconds):
            self.send_frame(n, stop)
        self.report.elapsed_s = time.monotonic() - started
        self.report.sender_cpu_s = time.process_time() - cpu
        return self.report

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _build_messages(self, address: tuple[str, int]) -> np.ndarray:
        """Return one mmsghdr a packet: header and pixels as two iovecs, so that nothing is copied together."""
        packets, data_bytes = self.geometry.packets_per_frame, self.geometry.packet_data_bytes
        header_bytes = self._headers.itemsize
        self._iovecs = np.zeros((packets, 2), _IOVEC)
        self._iovecs["base"][:, 0] = self._headers.ctypes.data + np.arange(packets) * header_bytes
        self._iovecs["len"][:, 0] = header_bytes
        self._iovecs["base"][:, 1] = self._pixels.ctypes.data + np.arange(packets) * data_bytes
        self._iovecs["len"][:, 1] = data_bytes
        self._name = np.frombuffer(_sockaddr_in(*address), np.uint8)
        messages = np.zeros(packets, _MMSGHDR)
        # Sent to an address, not connected: a connected socket would report a receiver that is not there, a line does not.
        messages["name"], messages["namelen"] = self._name.ctypes.data, self._name.size
        messages["iov"] = self._iovecs.ctypes.data + np.arange(packets) * 2 * _IOVEC.itemsize
        messages["iovlen"] = 2
        return messages

    def _send(self, messages: np.ndarray) -> None:
        done = 0
        while done < messages.size:
            sent = _sendmmsg(
                self._socket.fileno(), messages.ctypes.data + done * _MMSGHDR.itemsize, messages.size - done, 0
            )
            if sent >= 0:
                done += sent
                continue
            number = ctypes.get_errno()
            if number in (errno.ENOBUFS, errno.EAGAIN):
                time.sleep(50e-6)  # the device's queue is full; it empties at line rate
            elif number != errno.EINTR:
                raise HostError(f"sending failed: {os.strerror(number)}; check the address and the route")

    def _count(self, plan: PacketPlan, pulse_id: int, frame: int) -> None:
        r = self.report
        if not r.frames:
            r.first_pulse, r.first_frame = pulse_id, frame
        r.last_pulse, r.last_frame = pulse_id, frame
        r.frames += 1
        r.complete += plan.complete
        r.empty += not plan.order.size
        r.packets += plan.order.size
        r.lost += int(plan.lost.sum())
        r.duplicated += plan.duplicated
        r.reordered += plan.reordered


def _sockaddr_in(host: str, port: int) -> bytes:
    """Return Linux's ``struct sockaddr_in``. Raises HostError when the host has no IPv4 address."""
    try:
        ip = socket.gethostbyname(host)
    except OSError as error:
        raise HostError(f"{host}: no such host: {error}; give an IPv4 address or a name that resolves to one") from None
    family = np.uint16(socket.AF_INET).tobytes()
    return family + port.to_bytes(2, "big") + socket.inet_aton(ip) + bytes(8)
