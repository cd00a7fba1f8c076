"""Who listens on this host."""

import socket
from pathlib import Path

import pytest

from ioc.demo.listeners import silent

TABLE = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  514: 0100007F:C364 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 40960 2 0000000000000000 0
  515: 00000000:C365 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 40961 2 0000000000000000 0
"""


@pytest.mark.parametrize(
    ("address", "listened"),
    [
        ("127.0.0.1:50020", True),
        ("127.0.0.2:50020", False),  # bound to another address of this host
        ("127.0.0.2:50021", True),  # bound to all
        ("127.0.0.1:50022", False),
        ("198.51.100.7:50022", True),  # of another host: nothing is known of it
    ],
)
def test_the_kernel_s_table_says_who_listens(address: str, listened: bool, tmp_path: Path) -> None:
    table = tmp_path / "udp"
    table.write_text(TABLE)
    assert silent([address], table) == ([] if listened else [address])


def test_a_socket_of_this_host_is_seen_from_bind_to_close() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{receiver.getsockname()[1]}"
        assert silent([address]) == []
    assert silent([address]) == [address]
