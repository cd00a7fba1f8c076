"""The results of a user's function to the outside: as PVs over PVA, and as a ZMQ stream."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np

from detectors.image_head import ImageHead
from detectors.outputs.publisher import Publisher
from detectors.outputs.pva_results import PvaResults
from detectors.stats import ResultStats
from detectors.wire.result_message import Of, ResultHead, encode_result

_QUEUE: Final = 20
"""Messages kept for one subscriber."""

_PARTS: Final[Mapping[Of, str]] = {"total": "Total:", "image": "Last:"}
"""What the names of the PVs begin with, behind ``prefix``."""


class ResultOutput:
    """Publishes results. For one thread, but for the stats. Raises HostError when a port or an address is refused."""

    def __init__(
        self,
        prefix: str,
        detector: str,
        *,
        interfaces: Iterable[str],
        port: int | None,
        address: str,
        curve_keys: Path | None,
    ) -> None:
        """``address`` is that of the stream; empty: none."""
        self._prefix = prefix
        self._detector = detector
        with ExitStack() as stack:
            self._pva = PvaResults(interfaces, port)
            stack.callback(self._pva.close)
            self._stream = Publisher(address, _QUEUE, curve_keys=curve_keys) if address else None
            self._close = stack.pop_all().close
        self.address = self._stream.address if self._stream else ""
        """Where the stream is bound."""
        self.port = self._pva.port
        """TCP port of the PVA server."""
        self._published = self._dropped = 0

    @property
    def stats(self) -> ResultStats:
        """A snapshot."""
        return ResultStats(self._published, self._dropped, self._stream.consumers if self._stream else 0)

    def look(self) -> None:
        """Count the subscribers that came or went."""
        if self._stream:
            self._stream.look()

    def publish(self, of: Of, result: Mapping[str, np.ndarray], images: int, head: ImageHead) -> None:
        """Publish what was made of ``images`` images, the last of which has this head."""
        self._published += of == "total"
        for name, value in result.items():
            self._pva.show(f"{self._prefix}{_PARTS[of]}{name}", value, head)
            if self._stream and self._stream.consumers:
                about = ResultHead(name, of, images, head.pulse_id, head.timestamp_ns, self._detector)
                self._dropped += not self._stream.send(*encode_result(about, value))

    def close(self) -> None:
        """Send what is queued, and disconnect all clients."""
        if self._stream:
            self._stream.close()
        self._close()
