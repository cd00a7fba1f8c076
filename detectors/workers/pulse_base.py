"""Where pulse ids that are made of a detector's count go on: above what is on disk, and alike in all modules.

The modules of a detector on one host share the base in a small file in shared memory, which outlives them. Which base
follows is in ``detectors.assembly.counted_pulses``.
"""

import fcntl
import logging
import os
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from detectors.assembly import counted_pulses
from detectors.assembly.counted_pulses import BASE_STEP, UNKNOWN_START, NextBase, PulseStart
from detectors.buffer.layout import relative_path
from detectors.buffer.listing import highest_pulse
from detectors.buffer.registration import module_info
from detectors.config import Config, UdpSection
from detectors.errors import BufferReadError, HostError
from detectors.frame import FORMAT_MARKER, RECORD_HEAD

log = logging.getLogger(__name__)

_NAME: Final = "pulse-base"
"""Name of the file in shared memory, beside those of the workers."""

_BYTES: Final = 8


class SharedBase:
    """The base that all modules of a detector share. Raises HostError when its file cannot be opened or is another user's."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HostError(f"{path}: cannot be opened: {error.strerror}; remove it") from None
        if os.fstat(self._fd).st_uid != os.getuid():
            os.close(self._fd)
            raise HostError(f"{path}: belongs to another user; remove it")

    def begin(self, base: int) -> int:
        """Return the base to begin with: the shared one, or ``base``, which then becomes it, when that is above."""
        with self._locked() as shared:
            return self._set(base) if base > shared else shared

    def next(self, base: int, above: int) -> int:
        """Return the base after ``base``, above all pulses up to ``above``: what another module took already, or a new one."""
        with self._locked() as shared:
            if shared > max(base, above):
                return shared
            return self._set(counted_pulses.next_base(base, max(above, shared)))

    def close(self) -> None:
        """Close the file; it stays for the next life."""
        os.close(self._fd)

    @contextmanager
    def _locked(self) -> Generator[int]:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield int.from_bytes(os.pread(self._fd, _BYTES, 0), "little")
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _set(self, base: int) -> int:
        os.pwrite(self._fd, base.to_bytes(_BYTES, "little"), 0)
        return base


def pulse_start(config: Config, module: UdpSection, now_ns: int) -> PulseStart:
    """Return where a module's pulse ids stand, by what is on disk.

    When a folder cannot be read they begin at the time of day in ms, which is above all that can be there.
    """
    try:
        return _start_from_disk(config, module)
    except BufferReadError as error:
        base = counted_pulses.next_base(0, now_ns // 10**6)
        log.warning("%s; pulse ids go on above %d, the time of day, so that none is given twice", error, base)
        return PulseStart(base)


def _start_from_disk(config: Config, module: UdpSection) -> PulseStart:
    root = config.disk_folder(module)
    if root is None:
        return UNKNOWN_START
    folder = root / config.detector_of(module)
    highest = {m.name: -1 if (found := highest_pulse(folder / m.name)) is None else found for m in config.udp}
    above = highest[module.name]
    base = above - _frame_index(folder / module.name, above) * config.detector.pulse_id_step if above >= 0 else 0
    if base < 0 or base % BASE_STEP:  # not of our making: it came from bunch ids
        base = 0
    return PulseStart(base, above, max(highest.values()))


def shared_start(config: Config, module: UdpSection, stack: ExitStack) -> tuple[PulseStart, NextBase]:
    """Return where a module's pulse ids stand, and what gives the next base. ``stack`` closes it.

    Raises HostError when the shared base cannot be opened.
    """
    if module.pulse_source == "bunchid":
        return UNKNOWN_START, counted_pulses.next_base
    start = pulse_start(config, module, time.time_ns())
    shared = SharedBase(config.runtime_names.shm(_NAME))
    stack.callback(shared.close)
    return PulseStart(shared.begin(start.base), start.above, start.above_all), shared.next


def _frame_index(module_folder: Path, pulse_id: int) -> int:
    """Return the frame_index of a record; 0 when it cannot be read."""
    shape = module_info(module_folder).record
    try:
        with (module_folder / relative_path(pulse_id)).open("rb") as file:
            head = os.pread(file.fileno(), RECORD_HEAD.size, shape.file_offset(pulse_id))
    except OSError:
        return 0
    if len(head) != RECORD_HEAD.size or head[0] != FORMAT_MARKER:
        return 0
    return RECORD_HEAD.unpack(head)[2]
