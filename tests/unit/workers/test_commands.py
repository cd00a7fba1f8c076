"""Requests to a worker."""

import threading

import pytest
import zmq

from detectors.errors import CommandError
from detectors.workers import commands


def test_an_answer_that_is_too_long_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MAX_MESSAGE_BYTES", 1000)
    with zmq.Context() as context, context.socket(zmq.REP) as worker:
        worker.linger = 0
        port = worker.bind_to_random_port("tcp://127.0.0.1")
        answers = [b'{"ok": true, "result": "short"}', b'{"ok": true, "result": "%s"}' % (b"x" * 1000)]

        def answer() -> None:
            for text in answers:
                worker.recv()
                worker.send(text)

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"tcp://127.0.0.1:{port}"
        assert commands.request(address, "status") == "short"
        with pytest.raises(CommandError, match="no answer"):
            commands.request(address, "status", timeout_s=0.1)
        thread.join()
