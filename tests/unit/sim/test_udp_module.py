import socket

import numpy as np
import pytest

from detectors.errors import HostError
from detectors.geometry import GEOMETRIES, ModuleGeometry
from detectors.wire.headers import HEADERS
from sim.clock import Schedule, Stop
from sim.faults import FaultRates, plan_frame
from sim.pattern import check_frame
from sim.udp_module import UdpModuleSender

EPOCH = 10**18


@pytest.fixture
def line():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        yield receiver


def small(header: str, dtype: str = "uint16") -> ModuleGeometry:
    return ModuleGeometry("small", header, 16, 64, dtype, 8)


def send(line, geometry, frames, **options):
    """Return (header, pixels) of every packet sent, and the sender's report."""
    layout = HEADERS[geometry.header]
    packets = []
    sender = UdpModuleSender(line.getsockname(), geometry, Schedule(EPOCH, 10_000_000, 500, 3), **options)
    for n in range(frames):
        plan = sender.send_frame(n)
        for _ in range(plan.order.size):
            datagram = line.recv(65536)
            assert len(datagram) == layout.itemsize + geometry.packet_data_bytes
            packets.append((np.frombuffer(datagram, layout, 1)[0], datagram[layout.itemsize :]))
    sender.close()
    return packets, sender.report


@pytest.mark.parametrize(
    "geometry", [*GEOMETRIES.values(), small("jungfrau", "float32"), small("sls-big-endian")], ids=str
)
def test_packets_follow_the_header_table_and_make_up_the_pattern(line, geometry):
    packets, report = send(line, geometry, 2, module_id=7, first_frame=100, daq_rec=9, burst=5)
    per_frame = geometry.packets_per_frame
    for n in range(2):
        frame = packets[n * per_frame : (n + 1) * per_frame]
        assert [h["packetnum"] for h, _ in frame] == list(range(per_frame))
        for header, _ in frame:
            assert (header["framenum"], header["bunchid"], header["moduleID"], header["debug"]) == (
                100 + n,
                500 + 3 * n,
                7,
                9,
            )
            assert header["timestamp"] == n * 100_000  # 10 ms of a 10 MHz clock
        pixels = b"".join(data for _, data in frame)
        assert check_frame(pixels, 500 + 3 * n, 7, geometry.shape, geometry.dtype)
    assert (report.frames, report.complete, report.packets) == (2, 2, 2 * per_frame)
    assert (report.first_pulse, report.last_pulse, report.first_frame, report.last_frame) == (500, 503, 100, 101)


def test_a_port_says_what_a_stock_eiger_says(line):
    """One moduleID for the two ports of a half module, which differ in column; 0 for the pulse; detector type 1."""
    geometry = GEOMETRIES["eiger-16-1g"]
    more = {"module_id": 231, "row": 1, "column": 3, "number": 3, "bunchid": False}
    packets, report = send(line, geometry, 1, first_frame=7, burst=5, **more)
    assert len(packets) == 256
    for header, _ in packets:
        assert [header[name] for name in ("moduleID", "xCoord", "yCoord", "zCoord")] == [231, 1, 3, 0]
        assert [header[name] for name in ("framenum", "bunchid", "detectortype", "headerVersion")] == [7, 0, 1, 2]
    assert check_frame(b"".join(data for _, data in packets), 500, 3, geometry.shape, geometry.dtype)
    assert (report.module_id, report.first_pulse) == (231, 500)


def test_the_packet_has_the_documented_bytes(line):
    """48 bytes of header as in slsDetectorPackage, little-endian, with the pulse as a double."""
    (header, _), *_ = send(line, GEOMETRIES["jungfrau"], 1, module_id=0x0102, first_frame=0x03, daq_rec=0x04)[0]
    raw = header.tobytes()
    assert raw[0:8] == (3).to_bytes(8, "little")
    assert raw[12:16] == bytes(4)
    assert raw[16:24] == bytes.fromhex("0000000000407f40")  # 500.0
    assert raw[32:34] == b"\x02\x01"
    assert raw[40:44] == (4).to_bytes(4, "little")
    assert len(raw) == 48


def test_faults_on_the_line_are_those_reported(line):
    geometry = small("jungfrau")
    rates = FaultRates(loss=0.2, duplicate=0.1, reorder=0.2)
    packets, report = send(line, geometry, 30, module_id=2, faults=rates, seed=4)
    plans = [plan_frame(rates, 8, seed=4, stream=2, frame=1 + n) for n in range(30)]
    assert [h["packetnum"] for h, _ in packets] == [k for plan in plans for k in plan.order]
    assert report.packets == len(packets)
    assert report.lost == sum(p.lost.sum() for p in plans) > 0
    assert report.duplicated == sum(p.duplicated for p in plans) > 0
    assert report.reordered == sum(p.reordered for p in plans) > 0
    assert report.complete == sum(p.complete for p in plans) < 30
    assert report.packets == 30 * 8 - report.lost + report.duplicated


def test_losing_all_sends_nothing(line):
    packets, report = send(line, small("sls"), 3, faults=FaultRates(loss=1))
    assert packets == []
    assert (report.frames, report.empty, report.complete, report.packets, report.lost) == (3, 3, 0, 0, 24)


def test_run_sends_so_many_frames_and_reports(line):
    sender = UdpModuleSender(line.getsockname(), small("sls"), Schedule.at_rate(1000, first_pulse=40))
    with Stop() as stop:
        report = sender.run(stop, frames=10)
    sender.close()
    assert (report.frames, report.first_pulse, report.last_pulse) == (10, 40, 49)
    for _ in range(80):
        line.recv(65536)
    line.setblocking(False)
    with pytest.raises(BlockingIOError):
        line.recv(65536)


def test_the_packets_of_a_slow_detector_come_together(line, monkeypatch):
    waits = []
    monkeypatch.setattr("sim.udp_module.time.sleep", waits.append)
    sender = UdpModuleSender(line.getsockname(), small("sls"), Schedule.at_rate(0.5), burst=1)
    with Stop() as stop:
        sender.send_frame(0, stop)
    sender.close()
    assert len(waits) == 7
    assert 0 < max(waits) <= 0.02


def test_a_receiver_that_is_not_there_is_no_error():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unbound:
        unbound.bind(("127.0.0.1", 0))
        address = unbound.getsockname()
    sender = UdpModuleSender(address, small("sls"), Schedule.at_rate(0))
    for n in range(3):
        sender.send_frame(n)
    sender.close()
    assert sender.report.packets == 24


def test_an_unknown_host_is_one_line(monkeypatch):
    def unknown(host):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "gethostbyname", unknown)
    with pytest.raises(HostError, match="no such host"):
        UdpModuleSender(("nowhere", 1), small("sls"), Schedule.at_rate(0))


def test_the_same_start_gives_senders_the_same_pulses(line):
    reports = []
    for module in (0, 1):
        sender = UdpModuleSender(
            line.getsockname(), small("sls"), Schedule.at_rate(0, first_pulse=77), module_id=module
        )
        with Stop() as stop:
            reports.append(sender.run(stop, frames=4))
        sender.close()
    assert {(r.first_pulse, r.last_pulse) for r in reports} == {(77, 80)}
