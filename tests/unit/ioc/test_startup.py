from pathlib import Path

import pytest

from detectors.config import parse_config
from detectors.errors import HostError
from ioc.startup import check_host
from tests.support.ports import taken_udp_port

HOST = '[control]\nport_base = 52000\ncurve_keys = "/keys"\n[[host]]\nname = "daq1"\n'


def test_the_folder_of_the_iocs_own_sources_must_be_writable_and_others_are_looked_at_on_their_hosts(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    own = (
        f'[detector]\nname = "D"\nprefix = "T:"\n[pools]\npebbleBufCount = 8\n[dma]\ncfgRxCount = 4\n[disk]\nfolder = "{tmp_path}/file"\n'
        '[[udp]]\nname = "M00"\nport = 50123\n'
    )
    with pytest.raises(HostError, match=r"disk.folder: .*/file cannot be written"):
        check_host(parse_config(own), adopted=False)
    check_host(parse_config(f'{own}host = "daq1"\n{HOST}'), adopted=False)


def test_the_ports_are_those_of_its_own_sources_and_keys_are_needed_here_too(tmp_path: Path) -> None:
    with taken_udp_port() as port:
        own = (
            '[detector]\nname = "D"\nprefix = "T:"\n[dma]\ncfgRxCount = 4\n'
            f'[[udp]]\nname = "M00"\naddress = "127.0.0.1"\nport = {port}\n'
        )
        with pytest.raises(HostError, match=f"M00: UDP 127.0.0.1:{port}"):
            check_host(parse_config(own), adopted=False)
        warnings = check_host(parse_config(f'{own}host = "daq1"\n{HOST}'), adopted=False)
    assert any(line.startswith("keys: /keys: no keys") for line in warnings)
    assert not any(line.startswith(("ports", "receive buffer")) for line in warnings)
