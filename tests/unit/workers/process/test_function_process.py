import pickle
import threading
from multiprocessing import Pipe

import numpy as np
import pytest

from detectors.errors import ProcessingError
from detectors.image_head import ImageHead
from detectors.pools.shared_slots import SharedSlots
from detectors.processing.function import Processing
from detectors.workers.process.function_process import FunctionProcess, serve
from detectors.workers.process.messages import StoredImage

SHAPE = (4, 6)


def total_and_mean(image, head):
    return {"sum": image, "images": 1}


def in_place(total):
    total["sum"] //= total["images"]
    return {"mean": total["sum"]}


total_and_mean.finish = in_place  # type: ignore[attr-defined]


def refuses_odd(image, head):
    if head.pulse_id % 2:
        raise ValueError("odd")
    return int(image.sum())


def requests_of(function, spec="test:function"):
    return FunctionProcess(Processing(function, spec)).requests


def value_of(pickled):
    return int(pickle.loads(pickled)["value"])  # noqa: S301  of this test


def result(**arrays):
    return pickle.dumps({name: np.asarray(array) for name, array in arrays.items()})


def test_an_image_is_read_where_it_lies_in_shared_memory(tmp_path):
    slots = SharedSlots(tmp_path / "images", 3, 48)
    requests = requests_of(refuses_odd)
    buffers = [slots.try_acquire() for _ in range(3)]
    for number, buffer in enumerate(buffers):
        assert buffer
        buffer.array.view("<u2")[:24] = number
        image = StoredImage(tmp_path / "images", 1, buffer.slot * slots.step, SHAPE, "<u2", ImageHead(0))
        assert value_of(requests["image"](image)) == 24 * number
    slots.close()
    assert not (tmp_path / "images").exists()


def test_other_memory_behind_the_same_path_is_mapped_anew(tmp_path):
    requests = requests_of(refuses_odd)
    for generation in (1, 2):
        slots = SharedSlots(tmp_path / "images", 1, 48)
        buffer = slots.acquire()
        buffer.array.view("<u2")[:24] = generation
        image = StoredImage(tmp_path / "images", generation, 0, SHAPE, "<u2", ImageHead(0))
        assert value_of(requests["image"](image)) == 24 * generation
        slots.close()


def test_the_total_is_finished_each_time_and_goes_on():
    requests = requests_of(total_and_mean)
    assert requests["results"]() is None
    for pulse_id, value in ((1, 10), (2, 20), (3, 60)):
        requests["add"](result(sum=np.full(SHAPE, value), images=1), ImageHead(pulse_id))
        found = requests["results"]()
    assert (found.total["mean"] == 30).all()  # as if nothing had been finished before
    assert (found.last["sum"] == 60).all()
    assert (found.images, found.head.pulse_id) == (3, 3)
    requests["reset"]()
    assert requests["results"]() is None
    requests["add"](result(sum=np.full(SHAPE, 7), images=1), ImageHead(4))
    assert requests["results"]().images == 1


def test_a_result_that_does_not_fit_leaves_the_total_as_it_was():
    requests = requests_of(refuses_odd)
    requests["add"](result(value=5), ImageHead(1))
    with pytest.raises(ProcessingError, match="differ"):
        requests["add"](result(other=5), ImageHead(2))
    found = requests["results"]()
    assert (found.images, int(found.total["value"]), found.head.pulse_id) == (1, 5, 1)


@pytest.fixture
def served(tmp_path):
    """Answers of a process that this test plays in a thread."""
    ours, theirs = Pipe()

    def start(text: str):
        path = tmp_path / "own.py"
        path.write_text(text)
        thread = threading.Thread(target=_serve, args=(theirs, f"{path}:own"))
        thread.start()
        return ours, thread

    yield start
    ours.close()


def _serve(connection, spec):
    try:
        serve(connection, spec)
    except EOFError:
        connection.close()


def test_what_cannot_be_loaded_is_the_first_answer(served):
    connection, thread = served("def other(image, head): return 1\n")
    assert "found no own" in connection.recv()[0]
    thread.join()


def test_an_error_of_the_function_is_an_answer_and_the_next_request_is_served(served):
    connection, thread = served("def own(image, head): return 1\n")
    assert connection.recv() == ("", None)
    connection.send(("add", result(value=1), ImageHead(1)))
    assert connection.recv() == ("", None)
    connection.send(("add", result(value=[1, 2]), ImageHead(2)))
    assert "differ" in connection.recv()[0]
    connection.send(("results",))
    error, found = connection.recv()
    assert (error, found.images) == ("", 1)
    connection.close()
    thread.join()
