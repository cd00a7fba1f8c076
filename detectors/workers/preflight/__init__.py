"""Look at what commonly ruins a beam time, and say what to type."""

from detectors.workers.preflight import addresses, host, hosts, network, packages, pulses, storage
from detectors.workers.preflight.checks import Finding, Level, run_checks

CHECKS = network, storage, host, hosts, packages, addresses, pulses
"""The files that register the checks."""

__all__ = ["CHECKS", "Finding", "Level", "run_checks"]
