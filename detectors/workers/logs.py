"""Logs of every process: one line per event, as text or as JSON, and no flood of the same one."""

import json
import logging
import re
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TextIO

from detectors.config import LogSection

WINDOW_S: Final = 60.0
"""Over so long the same message is counted, s."""

_LINE: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) \S+: (.*)")


def set_up(source: str, log: LogSection, stream: TextIO | None = None) -> None:
    """Log this process to ``stream``, standard error if not given. ``source`` names it: ``udp.M00``, ``ioc``.

    The same message is logged ``log.per_minute`` times in a minute; then how often it was repeated.
    """
    handler = _LimitedHandler(stream or sys.stderr, log.per_minute)
    handler.setFormatter(_JsonFormatter(source) if log.format == "json" else _TextFormatter())
    logging.basicConfig(level=log.level.upper(), handlers=[handler], force=True)


def parse(line: str) -> tuple[int, str] | None:
    """Return level and message of a line that ``set_up`` made, of either style; None of any other line."""
    if line.startswith("{"):
        try:
            found: dict[str, Any] = json.loads(line)
            return int(getattr(logging, found["level"])), str(found["message"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
    text = _LINE.fullmatch(line)
    return (int(getattr(logging, text[1])), text[2]) if text else None


def _message(record: logging.LogRecord, formatter: logging.Formatter) -> str:
    """Return the message, with a traceback if there is one, in one line."""
    text = record.getMessage()
    if record.exc_info:
        text = f"{text}\n{formatter.formatException(record.exc_info)}"
    return " | ".join(line for line in text.splitlines() if line.strip())


class _TextFormatter(logging.Formatter):
    """For people: time, level, the part of the program or the worker that says it, and the message."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")  # noqa: DTZ006  local, as people read it
        return f"{when} {record.levelname} {getattr(record, 'worker', record.name)}: {_message(record, self)}"


class _JsonFormatter(logging.Formatter):
    """For a log store: one object a line. ``source`` is a worker whose line the IOC passes on, or else this process."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source

    def format(self, record: logging.LogRecord) -> str:
        tree: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created).astimezone().isoformat("T", "milliseconds"),
            "level": record.levelname,
            "source": getattr(record, "worker", self._source),
            "logger": record.name,
            "pid": record.process,
            "message": _message(record, self),
        }
        repeated = getattr(record, "repeated", 0)
        return json.dumps(tree | ({"repeated": repeated} if repeated else {}), ensure_ascii=False)


@dataclass(slots=True)
class _Window:
    """The last minute of one message."""

    began_s: float
    seen: int
    last: logging.LogRecord


class _LimitedHandler(logging.StreamHandler[TextIO]):
    """Passes the same message on so many times in a minute, and says how often it was repeated when the minute is over."""

    def __init__(self, stream: TextIO, per_minute: int) -> None:
        super().__init__(stream)
        self._most = per_minute
        self._windows: dict[object, _Window] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on or count it; called with the handler's lock held."""
        now_s = time.monotonic()
        self._end_windows(now_s)
        window = self._windows.setdefault(_same(record), _Window(now_s, 0, record))
        window.seen += 1
        window.last = record
        if window.seen <= self._most:
            super().emit(record)

    def close(self) -> None:
        """Say what was held back, and close."""
        self.acquire()
        try:
            self._end_windows(float("inf"))
        finally:
            self.release()
        super().close()

    def _end_windows(self, now_s: float) -> None:
        over = [key for key, window in self._windows.items() if window.began_s + WINDOW_S <= now_s]
        for key in over:
            window = self._windows.pop(key)
            if (repeated := window.seen - self._most) > 0:
                last = logging.makeLogRecord(
                    window.last.__dict__ | {"exc_info": None, "repeated": repeated, "args": ()}
                )
                last.msg = f"{window.last.getMessage()} (repeated {repeated} times)"
                super().emit(last)


def _same(record: logging.LogRecord) -> object:
    """Return what two records have in common that say the same: all but the numbers in them."""
    words: list[str] = [arg for arg in record.args if isinstance(arg, str)] if isinstance(record.args, tuple) else []
    worker = getattr(record, "worker", "")
    return record.name, record.levelno, worker, re.sub(r"\d+", "#", record.msg) if worker else record.msg, *words
