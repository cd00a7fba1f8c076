"""Look at what commonly ruins a beam time, and say what to type."""

from dataclasses import replace
from typing import Final

from detectors.config import Config, SourceSection
from detectors.errors import PebbleDaqError
from detectors.workers.preflight import addresses, host, hosts, network, packages, pulses, storage
from detectors.workers.preflight.checks import Check, Finding, Level, Request

__all__ = ["Finding", "Level", "run_checks"]

_CHECKS: Final[dict[str, Check]] = {
    "addresses": addresses.check_addresses,
    "open files": host.check_open_files,
    "processors": host.check_processors,
    "clock": host.check_clock,
    "host": hosts.check_host_address,
    "control ports": hosts.check_control_ports,
    "keys": hosts.check_keys,
    "names": hosts.check_names,
    "receive buffer": network.check_receive_buffer,
    "MTU": network.check_mtu,
    "ports": network.check_ports,
    "packages": packages.check_packages,
    "pulse ids": pulses.check_pulses,
    "memory": storage.check_free_memory,
    "disk": storage.check_disk,
    "files": storage.check_hdf5_folder,
    "retention": storage.check_retention,
    "write rate": storage.check_write_rate,
}
"""Every check by the name that its findings carry, unless they have one of their own."""

_COSTLY: Final = frozenset({"addresses", "names", "files", "write rate"})
"""The others take milliseconds and leave nothing behind: they also run when a worker starts."""


def run_checks(
    config: Config,
    *,
    rate_hz: float = 100.0,
    cheap: bool = False,
    only: SourceSection | None = None,
    host: str | None = None,
) -> list[Finding]:
    """Return the findings of all checks, or of the cheap ones: of what runs on ``host``, or of one source ``only``."""
    request = Request(config, rate_hz, only, only.host if only else host)
    findings: list[Finding] = []
    for name, check in _CHECKS.items():
        if cheap and name in _COSTLY:
            continue
        try:
            findings += (finding if finding.check else replace(finding, check=name) for finding in check(request))
        except (OSError, PebbleDaqError) as error:
            findings.append(Finding(name, Level.ERROR, f"cannot be checked: {error}"))
    return findings
