import os
import signal

import numpy as np
import pytest

from detectors.errors import ConfigError, ProcessingError
from detectors.image_head import ImageHead
from detectors.pools.shared_slots import SharedSlots
from detectors.workers.process.caller import Caller, ProcessGoneError
from detectors.workers.process.messages import StoredImage

OWN = """
import os, signal

def own(image, head):
    print("printed")
    if head.pulse_id == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if head.pulse_id == 14:
        raise ValueError("fourteen")
    return int(image.sum())
"""


@pytest.fixture
def caller(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    caller = Caller(f"{tmp_path}/own.py:own", "function-0")
    yield caller
    caller.close()


@pytest.fixture
def image(tmp_path):
    slots = SharedSlots(tmp_path / "images", 1, 8)
    buffer = slots.acquire()
    buffer.array[:] = np.arange(8)
    yield lambda pulse_id: StoredImage(tmp_path / "images", 1, 0, (8,), "|u1", ImageHead(pulse_id))
    slots.close()


def test_a_process_that_ends_is_started_again_with_the_next_image(caller, image, capfd):
    assert b"value" in caller.ask("image", image(1))
    with pytest.raises(ProcessGoneError, match="ended with -9"):
        caller.ask("image", image(13))
    assert not caller.running
    with pytest.raises(ProcessingError, match="pulse 14: ValueError: fourteen"):
        caller.ask("image", image(14))
    assert caller.running
    printed = capfd.readouterr()
    assert (printed.out, printed.err.count("printed")) == ("", 3)  # READY alone is on standard output


def test_a_process_that_was_ended_for_good_is_not_started_again(caller, image):
    caller.ask("image", image(1))
    caller.end()
    for _ in range(2):
        with pytest.raises(ProcessGoneError):
            caller.ask("image", image(2))


def test_the_signals_of_a_stop_are_for_the_worker(caller, image):
    caller.ask("image", image(1))
    process = caller._process
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(process.pid, number)
    assert b"value" in caller.ask("image", image(2))
    assert caller._process is process


def test_a_function_that_cannot_be_loaded_is_a_mistake_of_the_configuration(tmp_path):
    caller = Caller(f"{tmp_path}/none.py:own", "function-0")
    with pytest.raises(ConfigError, match="No such file"):
        caller.start()
    caller.close()
