"""The parts of an output that are done: a second run of the same command goes on from them.

They lie beside the output, in ``<output>.parts``. Each appears whole, under its final name. All workers must see that folder.
"""

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from detectors.buffer.atomic import write_atomically
from detectors.buffer.registration import software_version
from detectors.errors import HostError

_REQUEST: Final = "request.json"


class PartsFolder:
    """The folder of parts of ``output``, made or taken up again.

    ``request`` is all that the bytes of the parts follow from, as JSON. Raises HostError when the folder has parts of another
    request, or cannot be made.
    """

    def __init__(self, output: Path, request: Mapping[str, Any]) -> None:
        self.folder = output.with_name(output.name + ".parts")
        text = json.dumps({**request, "software": software_version()}, indent=1, sort_keys=True).encode()
        note = self.folder / _REQUEST
        try:
            self.folder.mkdir(exist_ok=True)
            if any(path != note for path in self.folder.iterdir()):
                self._check(note, text)
            else:
                write_atomically(note, text)
        except OSError as error:
            raise HostError(
                f"{self.folder}: cannot be made: {error.strerror}; check the folder of the output"
            ) from None

    def _check(self, note: Path, text: bytes) -> None:
        try:
            known = note.read_bytes()
        except FileNotFoundError:
            known = b""
        if known != text:
            raise HostError(
                f"{self.folder}: has parts of another command, or of data that has changed; remove it, or choose another output"
            )

    def keep(self, names: Collection[str]) -> None:
        """Remove all but the parts of these names: what killed workers have left, and what a second run would look for."""
        for path in self.folder.iterdir():
            if path.name not in names:
                path.unlink()

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
