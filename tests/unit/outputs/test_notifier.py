import time
from pathlib import Path

import pytest
import zmq

from detectors.errors import HostError
from detectors.outputs.notifier import Notifier


def test_listeners_get_pulse_ids(tmp_path: Path):
    address = f"ipc://{tmp_path}/n"
    notifier = Notifier(address)
    notifier.send(1)  # nobody listens: nothing is queued
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.subscribe(b"")
        socket.connect(address)
        deadline = time.monotonic() + 5
        while not socket.poll(10):
            assert time.monotonic() < deadline
            notifier.look()
            notifier.send(0x1122334455667788)
        assert socket.recv() == bytes.fromhex("8877665544332211")
    notifier.close()
    assert not (tmp_path / "n").exists()


def test_address_in_use(tmp_path: Path):
    notifier = Notifier("tcp://127.0.0.1:*")
    with pytest.raises(HostError, match="cannot publish there"):
        Notifier(notifier.address)
    notifier.close()
