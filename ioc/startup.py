"""Checks of the host before any worker is started."""

import logging
import tempfile
from typing import Final

from detectors.config import Config
from detectors.errors import CommandError, HostError
from detectors.roots import confined
from detectors.workers.preflight import Finding, Level, run_checks

log = logging.getLogger(__name__)

_FATAL: Final = ("memory", "shared memory", "ports")
"""Checks whose errors stop the start-up. The errors of the others are warnings."""


def check_host(config: Config, *, adopted: bool) -> list[str]:
    """Check the IOC's own host for what runs on it; log and return the warnings, a line each.

    With workers ``adopted`` the ports and the memory are in use by them and not checked. Raises HostError, one line per
    finding, when there is too little memory, a port is taken or the folder cannot be written.
    """
    fatal: list[str] = []
    warnings: list[str] = []
    for finding in run_checks(config, cheap=True):
        if finding.level is Level.OK or (adopted and finding.check in _FATAL):
            continue
        is_fatal = finding.level is Level.ERROR and finding.check in _FATAL
        (fatal if is_fatal else warnings).append(_line(finding))
    for line in warnings:
        log.warning(line)
    if not adopted:
        fatal += _folder(config)
    if fatal:
        raise HostError("\n".join(fatal))
    return warnings


def _line(finding: Finding) -> str:
    return f"{finding.check}: {finding.found}" + (f"; {finding.remedy}" if finding.remedy else "")


def _folder(config: Config) -> list[str]:
    """Make the folder and a file in it: permissions do not show a read-only mount, or that we are root."""
    if config.disk is None or not config.disk.enabled:
        return []
    if not config.sources_on(None):  # each host looks at its own
        return []
    folder = config.disk.folder
    if config.disk.roots:  # given by name, they are there, or their disk is not mounted
        try:
            confined(folder, config.disk.roots, "disk.folder")
        except CommandError as error:
            return [str(error)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return []
    except OSError as error:
        return [f"disk.folder: {folder} cannot be written: {error.strerror}; choose another or change its permissions"]
