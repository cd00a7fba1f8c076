"""The hosts that tests of several hosts run on: each has what is its own, and nothing of them stays."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sim.hosts.namespaces import HostLink, SimulatedHosts, why_no_hosts
from tests.support.process import Process
from tests.support.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(why_no_hosts()), reason=why_no_hosts())]

LISTEN = """
import socket
server = socket.create_server(("0.0.0.0", 5000))
print("READY", flush=True)
while True:
    client, address = server.accept()
    client.sendall(f"{socket.gethostname()} hears {address[0]}".encode())
    client.close()
"""
ASK = "import socket, sys; print(socket.create_connection((sys.argv[1], 5000), 10).makefile().read())"
DELAY_S = 0.05


def interfaces() -> list[str]:
    """Interfaces of this machine by name; other tests that make namespaces add none here."""
    return sorted(name for _, name in socket.if_nameindex())


@pytest.fixture(scope="module")
def hosts() -> Iterator[SimulatedHosts]:
    before = interfaces()
    with SimulatedHosts("one", "two", "far", links={"far": HostLink(DELAY_S, 0.05)}) as made:
        assert interfaces() == before
        yield made
    assert interfaces() == before


def test_a_host_is_reached_by_its_address_and_has_its_name(hosts: SimulatedHosts) -> None:
    with hosts["one"].start("-c", LISTEN).ready():
        said = hosts["two"].run("-c", ASK, hosts["one"].address).stdout
    assert said == f"one hears {hosts['two'].address}\n"


def test_shared_memory_runtime_folder_and_data_are_a_host_s_own(hosts: SimulatedHosts) -> None:
    one, two = hosts["one"], hosts["two"]
    places = ("/dev/shm/trial", f"{one.environment['XDG_RUNTIME_DIR']}/trial", f"{one.data}/trial")
    write = "import pathlib, sys\nfor name in sys.argv[1:]: pathlib.Path(name).write_text('one')"
    found = "import pathlib, sys\nprint([pathlib.Path(name).exists() for name in sys.argv[1:]])"
    assert one.run("-c", write, *places).returncode == 0
    assert one.run("-c", found, *places).stdout == "[True, True, True]\n"
    assert two.run("-c", found, *places).stdout == "[False, False, False]\n"
    assert [Path(name).exists() for name in places] == [False, False, False]
    assert two.run("-c", found, f"{one.seen_at}/trial").stdout == "[True]\n"


def test_packets_of_a_module_pass_whole(hosts: SimulatedHosts) -> None:
    take = (
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 5001)); s.settimeout(10)\n"
        "print('READY', flush=True)\n"
        "print('came', len(s.recv(65536)))"
    )
    give = (
        "import socket, sys; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(bytes(8240), (sys.argv[1], 5001))"
    )
    with hosts["two"].start("-c", take).ready() as taking:
        assert hosts["one"].run("-c", give, hosts["two"].address).returncode == 0
        taking.wait_for("^came 8240$")
        assert taking.wait() == 0


def test_a_link_delays_and_loses_and_tcp_gets_all_through(hosts: SimulatedHosts) -> None:
    far = hosts["far"]
    send = "import socket\ns = socket.create_server(('', 5002))\nprint('READY', flush=True)\ns.accept()[0].sendall(bytes(2_000_000))"
    take = (
        "import socket, sys\n"
        "s = socket.create_connection((sys.argv[1], 5002), 10)\n"
        "print(sum(map(len, iter(lambda: s.recv(65536), b''))))"
    )
    began_s = time.monotonic()
    with far.start("-c", send).ready():
        assert hosts["one"].run("-c", take, far.address).stdout == "2000000\n"
    assert time.monotonic() - began_s >= 2 * DELAY_S
    assert far.link is not None
    counts = far.link.ask("counts")
    assert counts["to_near"]["lost"] > 0
    assert counts["to_far"]["carried"] > 0


def test_a_killed_host_is_gone_and_comes_back_with_its_disk(hosts: SimulatedHosts) -> None:
    two = hosts["two"]
    (two.seen_at / "kept").write_text("yes")
    with two.start("-c", LISTEN).ready() as listening:
        assert hosts["one"].run("-c", ASK, two.address).stdout.startswith("two hears")
        two.kill()
        assert listening.wait() == -9
    assert not two.seen_at.exists()
    two.boot()
    refused = hosts["one"].run("-c", ASK, two.address)
    assert "ConnectionRefusedError" in refused.stderr
    assert (two.seen_at / "kept").read_text() == "yes"


def test_all_processes_of_a_host_end_with_what_made_it(tmp_path: Path) -> None:
    made = (
        "import time\n"
        "from sim.hosts.namespaces import SimulatedHosts\n"
        "with SimulatedHosts('alone') as hosts:\n"
        "    process = hosts['alone'].start('-c', 'import time; time.sleep(1000)')\n"
        "    print('process', process.pid, flush=True)\n"
        "    time.sleep(1000)\n"
    )
    with Process("-c", made, environment=os.environ | {"TMPDIR": str(tmp_path)}) as making:
        pid = int(making.wait_for(r"^process (\d+)$")[1])
        making.process.kill()
        until(lambda: psutil.pid_exists(pid), lambda there: not there)
