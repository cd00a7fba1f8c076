import threading

from hypothesis import given
from hypothesis import strategies as st

from detectors.balance import balance
from detectors.stats import ImageStats, ProcessingStatus
from detectors.workers.process.fates import ImageFates


@given(st.lists(st.sampled_from(["drop", "take", "processed", "failed", "lost", "dropped"])))
def test_every_image_has_one_fate_or_is_under_way(calls):
    fates, came, taken = ImageFates(), 0, 0
    for call in calls:
        if call == "drop":
            fates.drop()
            came += 1
        elif call == "take":
            fates.take()
            came, taken = came + 1, taken + 1
        elif taken:
            taken -= 1
            if call == "failed":
                fates.fail("no")
            else:
                fates.settle(call)
        lines = balance(ProcessingStatus(images=ImageStats(matched=came, assembled=came), processing=fates.stats))
        assert not any(lines.values())
        assert fates.stats.queued == taken


def test_the_first_error_is_kept_until_it_is_forgotten():
    fates = ImageFates()
    for reason in ("first", "second"):
        fates.take()
        fates.fail(reason)
    assert fates.error == "first"
    fates.forget_error()
    fates.note("third")
    assert (fates.error, fates.stats.failed) == ("third", 2)


def test_who_waits_learns_that_the_last_image_is_settled():
    fates = ImageFates()
    fates.take()
    assert not fates.wait_settled(0.0)
    thread = threading.Thread(target=fates.settle, args=("processed",))
    thread.start()
    assert fates.wait_settled(10.0)
    thread.join()
