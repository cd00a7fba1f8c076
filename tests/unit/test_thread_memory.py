from concurrent.futures import ThreadPoolExecutor

from detectors.thread_memory import ThreadMemory


def test_a_thread_gets_the_same_memory_again():
    memory = ThreadMemory()
    first = memory.take(100)
    assert first.nbytes == 100
    assert memory.take(40).ctypes.data == first.ctypes.data
    assert memory.take(200).nbytes == 200


def test_each_thread_has_memory_of_its_own():
    memory = ThreadMemory()
    mine = memory.take(100)
    mine[:] = 1
    with ThreadPoolExecutor(1) as executor:
        theirs = executor.submit(memory.take, 100).result()
        theirs[:] = 2
    assert (mine == 1).all()
