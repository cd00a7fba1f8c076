"""The log of what goes wrong with packets: the first of each kind; the counters have all."""

import logging

log = logging.getLogger(__name__)


class Notes:
    """Logs each kind of event once a run: a flood must not become a flood of lines."""

    def __init__(self, about: str) -> None:
        self._about = about
        self._seen: set[str] = set()
        self.latest = ""
        """The last text logged in this run."""

    def __call__(self, kind: str, text: str) -> None:
        """Log ``text`` if it is the first of its kind."""
        if kind not in self._seen:
            self._seen.add(kind)
            self.latest = text
            log.warning("%s: %s (further ones are only counted)", self._about, text)

    def forget(self) -> None:
        """Begin another run: each kind is logged once more."""
        self._seen.clear()
        self.latest = ""
