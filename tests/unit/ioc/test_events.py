import logging

from ioc.events import LOG_ALARM_S, MOST, EventLog, LastWarning, LoggedEvent


def test_the_last_hundred_are_kept_the_newest_first() -> None:
    now = iter(range(1000))
    events = EventLog(lambda: next(now))
    for number in range(MOST + 5):
        events.add("M00", 0, str(number))
    assert len(events.kept) == MOST
    assert events.kept[0] == events.last == LoggedEvent(MOST + 4, "M00", 0, str(MOST + 4))
    assert events.count == MOST + 5


def test_an_alarm_is_an_event_when_it_begins_changes_and_ends() -> None:
    events = EventLog(lambda: 0)
    for severity, text in ((0, "0"), (1, "3 packets"), (1, "5 packets"), (2, "200 packets"), (0, "0 packets"), (0, "")):
        events.alarm("Lost", severity, text)
    assert [(event.severity, event.text) for event in reversed(events.kept)] == [
        (1, "3 packets"),
        (2, "200 packets"),
        (0, "ended: 0 packets"),
    ]


def test_an_event_in_a_line() -> None:
    assert LoggedEvent(1_764_316_800_123_000_000, "M00", 2, "lost").line.endswith(" Major M00: lost")
    assert ".123" in LoggedEvent(1_764_316_800_123_000_000, "M00", 2, "lost").line


def test_the_last_warning_of_the_log_alarms_for_a_while() -> None:
    now_s = [0.0]
    last = LastWarning(lambda: now_s[0])
    logger = logging.getLogger("daq")
    logger.addHandler(last)
    logger.info("nothing")
    assert (last.line, last.severity) == ("", 0)
    logger.warning("first %d\nsecond", 1)
    assert (last.line, last.severity) == ("WARNING daq: first 1", 1)
    logger.error("worse")
    assert (last.line, last.severity) == ("ERROR daq: worse", 2)
    now_s[0] += LOG_ALARM_S
    assert (last.line, last.severity) == ("ERROR daq: worse", 0)
    logger.removeHandler(last)
