from pathlib import Path

import pytest

from detectors.config import parse_config
from detectors.errors import HostError
from ioc.startup import check_host

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
