"""A demo without an end must not fill the disk: its oldest files are removed, and the frames in them counted."""

from pathlib import Path

from detectors.buffer.layout import relative_path, sidecar_path
from detectors.buffer.reader import BufferReader
from detectors.frame import FILE_MOD


class Rolling:
    """The files of one module that are kept. ``first_pulse`` must be the first of a file."""

    def __init__(self, detector: Path, module: str, first_pulse: int) -> None:
        self.removed = 0
        """Frames in the files that were removed."""
        self._detector = detector
        self._module = module
        self._first = first_pulse

    def keep_from(self, pulse_id: int) -> None:
        """Remove the files whose pulses are all before this one, in order, up to the first file that does not exist yet."""
        while self._first + FILE_MOD <= pulse_id:
            path = self._detector / self._module / relative_path(self._first)
            if not path.exists():
                return
            reader = BufferReader(self._detector, self._module)
            self.removed += reader.pulses(self._first, self._first + FILE_MOD - 1).size
            for file in (path, sidecar_path(path)):
                file.unlink(missing_ok=True)
            self._first += FILE_MOD
