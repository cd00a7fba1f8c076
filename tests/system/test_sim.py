"""The simulators as users start them: one process each, on free ports of the loopback."""

import json
import signal
import socket
import threading
import time

import numpy as np
import pytest
from caproto.sync import client as ca
from p4p.client.thread import Context

from detectors.geometry import GEOMETRIES
from detectors.run_state import Service
from detectors.wire.headers import HEADERS
from detectors.wire.timing import parse_timing
from ioc.demo.children import Child, clean_environment
from sim.pattern import check_frame
from tests.support.ports import free_ports

GEOMETRY = GEOMETRIES["jungfrau"]
LAYOUT = HEADERS[GEOMETRY.header]
START_S = 30


@pytest.fixture
def start():
    children = []

    def start_one(*arguments, **environment):
        child = Child(f"sim {arguments[0]}", ["sim", *map(str, arguments)], {**clean_environment(), **environment})
        children.append(child)
        return child

    yield start_one
    for child in children:
        child.end()


@pytest.fixture
def line():
    """Makes sockets that are bound and keep what comes."""
    opened = []

    def bind():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        opened.append(receiver)
        return receiver, receiver.getsockname()[1]

    yield bind
    for receiver in opened:
        receiver.close()


def ready(*children):
    deadline = time.monotonic() + START_S
    return [json.loads(child.wait_ready(deadline).removeprefix("READY ")) for child in children]


def test_all_sources_started_by_one_line_share_pulses_and_time(start, line):
    sockets = [line() for _ in range(2)]
    timing_socket, timing_port = line()
    clock = ("--epoch-ns", "-", "--start", 500)
    slow = (*clock, "--rate", 5, "--step", 4, "--frames", 3)
    modules = [
        start("udp", port, *clock, "--rate", 20, "--frames", 2, "--module-id", i, "--burst", 8)
        for i, (_, port) in enumerate(sockets)
    ]
    timing = start("timing", timing_port, *slow)
    camera = start(
        "pva", "SIM:TEST:image", *slow, "--shape", "8x16", "--dtype", "float32", "--initial-image", "--port", 0
    )
    served = ready(camera, timing, *modules)[0]
    images, got = [], threading.Event()

    def keep(value):
        images.append(value)
        got.set()

    client = Context("pva", nt=False, conf=served["environment"], useenv=False)
    monitor = client.monitor("SIM:TEST:image", keep)
    assert got.wait(START_S)
    epoch = time.time_ns() + 200_000_000
    for child in (camera, timing, *modules):
        child.write_line(str(epoch))

    for module_id, (receiver, _) in enumerate(sockets):
        packets = [receiver.recv(9000) for _ in range(2 * GEOMETRY.packets_per_frame)]
        for n in range(2):
            frame = packets[n * GEOMETRY.packets_per_frame : (n + 1) * GEOMETRY.packets_per_frame]
            assert {float(np.frombuffer(p, LAYOUT, 1)["bunchid"][0]) for p in frame} == {500.0 + n}
            pixels = b"".join(p[LAYOUT.itemsize :] for p in frame)
            assert check_frame(pixels, 500 + n, module_id, GEOMETRY.shape, GEOMETRY.dtype)
    events = [parse_timing(timing_socket.recv(100)) for _ in range(3)]
    assert [(e.service, e.pulse_id) for e in events] == [(Service.L1_ACCEPT, 500 + 4 * n) for n in range(3)]
    assert [e.timestamp_ns for e in events] == [epoch + n * 200_000_000 for n in range(3)]
    assert camera.wait(START_S) == 0
    assert camera.report()["images"] == 3
    monitor.close()
    client.close()
    old, *new = [image for image in images if image.value is not None]
    assert check_frame(old.value, 496, 0, (8, 16), "float32")
    stamps = [(v.timeStamp.secondsPastEpoch * 10**9 + v.timeStamp.nanoseconds, v.uniqueId) for v in new]
    assert stamps == [(event.timestamp_ns, 500 + n) for n, event in enumerate(events)]
    for event, image in zip(events, new, strict=True):
        assert check_frame(image.value, event.pulse_id, 0, (8, 16), "float32")


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_source_with_its_report(start, line, number):
    ca_port, beacon = free_ports(2)
    environment = {"EPICS_CA_SERVER_PORT": str(ca_port), "EPICS_CAS_BEACON_PORT": str(beacon)}
    children = [
        start("udp", line()[1], "--rate", 50),
        start("timing", line()[1], "--rate", 50, "--transitions"),
        start("pva", "SIM:TEST:image", "--rate", 50, "--shape", "4x4", "--port", 0),
        start("ca", "SIM:TEST:", "--rate", 50, "--shape", "4x4", **environment),
    ]
    ready(*children)
    for child in children:
        child._process.send_signal(number)
    for child in children:
        assert child.wait(10) == 0, (child.name, child.lines)
        assert child.report()
    assert children[1].report()["transitions"] == 6


def test_a_ca_camera_is_read_and_stopped_over_channel_access(start, monkeypatch):
    port, beacon, repeater = free_ports(3)
    environment = {
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CAS_BEACON_PORT": str(beacon),
        "EPICS_CA_REPEATER_PORT": str(repeater),
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_MAX_ARRAY_BYTES": "1000000",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    camera = start("ca", "SIM:TEST:", "--rate", 20, "--shape", "8x32", "--start", 40, **environment)
    ready(camera)

    def read(name, **options):
        return ca.read(f"SIM:TEST:{name}", timeout=10, repeater=False, **options)

    def write(name, value):
        ca.write(f"SIM:TEST:{name}", value, notify=True, timeout=10, repeater=False)

    deadline = time.monotonic() + START_S
    while read("cam1:ArrayCounter_RBV").data[0] < 2:
        assert time.monotonic() < deadline
    assert (read("cam1:ArraySizeX_RBV").data[0], read("cam1:ArraySizeY_RBV").data[0]) == (32, 8)
    write("cam1:Acquire", 0)
    assert read("cam1:Acquire_RBV").data[0] == b"Done"

    def standing():
        return read("image1:ArrayData", data_type="time"), int(read("cam1:UniqueId_RBV").data[0])

    # The image that was under way may still come; then time, counter and pixels belong to one image.
    image, pulse = standing()
    while not check_frame(image.data.astype("<u2"), pulse, 0, (8, 32), "uint16"):
        assert time.monotonic() < deadline
        image, pulse = standing()
    assert image.data.dtype.itemsize == 4  # Channel Access has no unsigned 16 bits
    again = read("image1:ArrayData", data_type="time")
    assert again.metadata.timestamp == image.metadata.timestamp
    write("cam1:Acquire", 1)
    while int(read("cam1:UniqueId_RBV").data[0]) == pulse:
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("udp", "127.0.0.1:99999"), "expected host:port or a port"),
        (("pva", "X", "--shape", "2048"), None),
        (("pva", "X", "--shape", "0x4"), "expected sizes like 2048x1024"),
        (("timing", "45000", "--epoch-ns", "now"), "expected a POSIX time in ns, or -"),
        (("udp", "45000", "--loss", "2"), "loss: found 2.0, expected a fraction from 0 to 1"),
        (("ca", "X:", "--dtype", "uint64"), "expected one of int8"),
        (("pva", "X", "--codec", "jpeg", "--frames", "1"), "jpeg: found uint16"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(start, arguments, message):
    child = start(*arguments, "--frames", "1") if message is None else start(*arguments)
    code = child.wait(START_S)
    assert code == (0 if message is None else 2)
    if message:
        assert message in child.lines[-1]
        assert not any("Traceback" in text for text in child.lines)
