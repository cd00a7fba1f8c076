"""Streams with keys: without one no data, with one data."""

import time
from contextlib import closing
from pathlib import Path

import pytest
import zmq
from click.testing import CliRunner

from detectors.api import CurveKeys, ModuleStream
from detectors.curve import make_keys, own_keys
from detectors.errors import ConfigError, HostError
from detectors.frame import FrameHead
from detectors.outputs.publisher import Publisher
from detectors.sources.subscriptions import Sender, Subscriptions
from ioc.cli.keys import command

HEAD = FrameHead(7, 8, 0, 1, 0).module_frame


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    for name in ("server", "ana"):
        make_keys(folder, name)
    make_keys(tmp_path / "elsewhere", "eve")
    return folder


def received(publisher: Publisher, keys: CurveKeys | None, seconds: float) -> int:
    """What a client gets of a stream within a time."""
    end = time.monotonic() + seconds
    with ModuleStream(publisher.address, (4,), "uint8", keys=keys, timeout_s=0) as frames:
        while time.monotonic() < end:
            publisher.look()
            publisher.send(HEAD, b"abcd")
            if (found := next(frames, None)) is not None:
                return found[0].pulse_id
            time.sleep(0.01)
    return 0


def test_no_data_without_a_key_that_is_authorized(keys: Path, tmp_path: Path) -> None:
    publisher = Publisher("tcp://127.0.0.1:*", 10, linger_ms=0, curve_keys=keys)
    server = keys / "server.key"
    assert received(publisher, None, 0.5) == 0
    assert received(publisher, CurveKeys(tmp_path / "elsewhere" / "eve.key_secret", server), 0.5) == 0
    assert publisher.consumers == 0
    assert received(publisher, CurveKeys(keys / "ana.key_secret", server), 5) == 7
    assert received(publisher, own_keys(keys), 5) == 7
    publisher.close()


def test_a_push_socket_takes_no_worker_without_a_key(keys: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = Publisher(
        "tcp://127.0.0.1:*", 10, kind=zmq.PUSH, linger_ms=0, wait_s=0.5, context=context, curve_keys=keys
    )
    with zmq.Context() as own, own.socket(zmq.PULL) as worker:
        worker.connect(publisher.address)
        assert not publisher.send(b"x")
    ana = CurveKeys(keys / "ana.key_secret", keys / "server.key")
    with closing(Subscriptions([Sender(publisher.address, 10, 100)], zmq.PULL, ana)) as worker:
        assert publisher.send(b"x")
        assert worker.receive_one(5.0) == [b"x"]
    publisher.close()
    context.term()


def test_ipc_needs_no_keys(keys: Path, tmp_path: Path) -> None:
    publisher = Publisher(f"ipc://{tmp_path}/p", 10, linger_ms=0, curve_keys=keys)
    assert received(publisher, None, 5) == 7
    publisher.close()


def test_keys_that_cannot_be_used_are_one_line(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server.key_secret: no key can be read: .*; make one with: pebbledaq keys"):
        Publisher("tcp://127.0.0.1:*", 1, curve_keys=tmp_path)
    with pytest.raises(HostError, match="there are keys of this name"):
        make_keys(keys, "ana")
    with pytest.raises(ConfigError, match="found a public key, expected a secret one"):
        ModuleStream("tcp://127.0.0.1:1", (4,), "uint8", keys=CurveKeys(keys / "ana.key", keys / "server.key"))
    secret = keys / "ana.key_secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read this secret key"):
        ModuleStream("tcp://127.0.0.1:1", (4,), "uint8", keys=CurveKeys(secret, keys / "server.key"))


def test_the_command_makes_keys_and_says_who_gets_which(tmp_path: Path) -> None:
    for name in ("server", "ana"):
        done = CliRunner().invoke(command, [name, "--output", str(tmp_path / "keys")])
        assert done.exit_code == 0, done.output
        assert f"secret: {tmp_path}/keys/{name}.key_secret" in done.output
    assert f"Give the client {tmp_path}/keys/ana.key_secret and {tmp_path}/keys/server.key" in done.output
    assert isinstance(
        CliRunner().invoke(command, ["../ana", "--output", str(tmp_path / "keys")]).exception, ConfigError
    )
