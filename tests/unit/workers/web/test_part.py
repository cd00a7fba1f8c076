"""Mistakes that a user makes with the page, each in one line."""

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from detectors.config import Config, parse_config
from detectors.errors import ConfigError, HostError
from detectors.workers.wake import Wake
from detectors.workers.web.part import WebPart
from tests.support.ports import free_ports
from tests.support.process import run


def config_of(web: str = "") -> Config:
    return parse_config(
        f'[detector]\nname = "JF"\nprefix = "TWEB:"\n[[udp]]\nname = "M00"\nport = 5000\n[web]\n{web}\n'
    )


def opened(config: Config) -> str:
    wake = Wake()
    with ExitStack() as stack:
        stack.callback(wake.close)
        return WebPart(config).open(stack, wake, None)  # type: ignore[arg-type]


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "detectors.workers.web.site", raising=False)
    with pytest.raises(HostError, match=r"^web: found no package uvicorn, .*pip install 'pebbledaq\[web\]'$"):
        opened(config_of())


def test_a_port_in_use_is_told_with_the_remedy() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=rf"^web: 127.0.0.1:{port}: Address already in use; give another"):
            opened(config_of(f"port = {port}"))


def test_the_address_is_loopback_unless_told_otherwise() -> None:
    (port,) = free_ports(1)
    assert opened(config_of(f"port = {port}")) == f"http://127.0.0.1:{port}/"


def test_the_section_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[detector]\nname = "JF"\nprefix = "TWEB:"\n[[udp]]\nname = "M00"\nport = 5000\n')
    done = run("web", str(path))
    assert done.returncode == ConfigError.exit_code
    assert done.stderr == "pebbledaq: web: missing; give a [web] section\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('address = "everywhere"', "web.address: "),
        ("port = 0", "web.port: "),
        ("image_hz = 0", "web.image_hz: "),
        ("image_hz = 1000", "web.image_hz: "),
        ("pixels = 0", "web.pixels: "),
        ('password = "x"', "web.password: unknown key"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(line)
