import io
import json
import logging
import re

import pytest

from detectors.config import LogSection
from detectors.workers import logs
from detectors.workers.logs import WINDOW_S, parse, set_up

log = logging.getLogger("detectors.some.part")


@pytest.fixture
def root():
    """The root logger's handlers, which come back."""
    logger = logging.getLogger()
    kept, level = logger.handlers[:], logger.level
    logger.handlers.clear()
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:] = kept
    logger.setLevel(level)


@pytest.fixture
def clock(monkeypatch):
    """Seconds of the monotonic clock, as a list of one."""
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    return now


def begin(**settings) -> io.StringIO:
    out = io.StringIO()
    set_up("udp.M00", LogSection(**settings), out)
    return out


def test_text_has_time_level_part_and_message(root):
    out = begin()
    log.warning("found %d of %s", 3, "them")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARNING detectors\.some\.part: found 3 of them\n", out.getvalue()
    )


def test_json_has_the_same_and_who_says_it(root):
    out = begin(format="json")
    log.error("50 %% of %s", "é")
    log.info("passed on", extra={"worker": "udp.M07"})
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["level"], first["source"], first["logger"]) == ("ERROR", "udp.M00", "detectors.some.part")
    assert first["message"] == "50 % of é"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", first["time"])
    assert second["source"] == "udp.M07"


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_is_in_the_same_line(root, style):
    out = begin(format=style)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("failed")
    (line,) = out.getvalue().splitlines()
    assert "failed | Traceback" in line
    assert "ValueError: two | lines" in line


@pytest.mark.parametrize("style", ["text", "json"])
def test_what_is_logged_can_be_read_again(root, style):
    out = begin(format=style)
    log.warning("disk: 3 GB free; see docs")
    assert parse(out.getvalue().rstrip()) == (logging.WARNING, "disk: 3 GB free; see docs")


@pytest.mark.parametrize(
    "line", ["READY udp.M00 here", "Traceback (most recent call last):", "{}", '{"level": 3}', "{broken", ""]
)
def test_other_lines_are_none_of_ours(line):
    assert parse(line) is None


def test_a_level_holds_back_what_is_below_it(root):
    out = begin(level="warning")
    log.info("chat")
    log.warning("trouble")
    assert "chat" not in out.getvalue()
    assert "trouble" in out.getvalue()


def test_the_same_message_is_logged_so_often_a_minute_and_then_counted(root, clock):
    out = begin(per_minute=3)
    for pulse_id in range(126):
        log.warning("pulse %d jumped", pulse_id)
        log.warning("other %s", "kind" if pulse_id < 3 else f"kind {pulse_id}")
    lines = [line for line in out.getvalue().splitlines() if "jumped" in line]
    assert len(lines) == 3
    clock[0] += WINDOW_S
    log.info("later")
    (repeated,) = [line for line in out.getvalue().splitlines() if "repeated" in line]
    assert repeated.endswith("pulse 125 jumped (repeated 123 times)")
    log.warning("pulse %d jumped", 200)
    assert out.getvalue().splitlines()[-1].endswith("pulse 200 jumped")


def test_messages_that_differ_in_words_are_different(root, clock):
    out = begin(per_minute=1)
    for name in ("M00", "M01"):
        log.warning("%s: stalled", name)
    assert len(out.getvalue().splitlines()) == 2


def test_what_a_worker_floods_the_ioc_with_is_limited_by_its_text(root, clock):
    out = begin(per_minute=2, format="json")
    for number in range(10):
        log.error(f"frame {number} of 7 %", extra={"worker": "udp.M01"})  # noqa: G004  as lines of workers come
    assert len(out.getvalue().splitlines()) == 2
    root.handlers[0].close()
    last = json.loads(out.getvalue().splitlines()[-1])
    assert (last["repeated"], last["message"]) == (8, "frame 9 of 7 % (repeated 8 times)")
