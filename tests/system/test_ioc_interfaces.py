"""Where an IOC listens."""

import socket
from pathlib import Path

import psutil
import pytest

from tests.support.epics_env import epics_variables
from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import prefix_of, write_config

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("section", "expected"),
    [('[ioc]\ninterfaces = ["127.0.0.1"]\n', {"127.0.0.1"}), ("", {"0.0.0.0"})],
    ids=["chosen", "all"],
)
def test_records_are_served_on_the_chosen_interfaces(
    tmp_path: Path, runtime_dir: Path, section: str, expected: set[str]
) -> None:
    config = write_config(tmp_path, section)
    variables = {name: value for name, value in epics_variables().items() if not name.endswith("INTF_ADDR_LIST")}
    ports = {int(variables[f"EPICS_{server}_SERVER_PORT"]) for server in ("CAS", "PVAS")}
    with IocProcess(prefix_of(config), "-m", "tests.support.fake_ioc", str(config), variables=variables) as ioc:
        ioc.until("Heartbeat_RBV", lambda value: value > 0)
        found = [c for c in psutil.Process(ioc.pid).net_connections() if c.laddr and c.laddr.port in ports]
        tcp = {(c.laddr.ip, c.laddr.port) for c in found if c.status == psutil.CONN_LISTEN}
        assert {port for _, port in tcp} == ports
        assert {ip.removeprefix("::ffff:").replace("::", "0.0.0.0") for ip, _ in tcp} == expected
        udp = {c.laddr.ip for c in found if c.type == socket.SOCK_DGRAM}
        assert "0.0.0.0" not in udp or expected == {"0.0.0.0"}
