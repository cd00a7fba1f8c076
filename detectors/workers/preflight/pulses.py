"""Check of the pulse ids: whether modules on several hosts give a pulse the same one."""

from collections.abc import Iterator

from detectors.workers.preflight.checks import Finding, Request, warning


def check_pulses(request: Request) -> Iterator[Finding]:
    """Check that no host makes pulse ids of a count of its own while another does, too."""
    modules = request.config.udp
    counted = [module for module in modules if module.pulse_source != "bunchid"]
    if counted and len({module.host for module in modules}) > 1:
        yield warning(
            f"{counted[0].name} takes them from {counted[0].pulse_source}, and each host counts by itself: a host that was away "
            "while the detector began to count again gives a pulse another id than the other hosts",
            'use a detector that sends bunch ids, and pulse_from = "bunchid"',
        )
