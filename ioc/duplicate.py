"""Is there an IOC already that serves these records? On one host a lock says it; another host's IOC is found by its records."""

from typing import Final

from p4p.client.thread import Context

from detectors.errors import HostError

WAIT_S: Final = 1.0
"""How long an answer is waited for, s: PV Access searches several times in it."""


def refuse_duplicate(prefix: str) -> None:
    """Raise HostError when an IOC of this prefix answers: two would command the same workers."""
    with Context("pva", nt=False) as clients:
        try:
            started = clients.get(f"{prefix}StartTime_RBV", timeout=WAIT_S).value
        except TimeoutError:
            return
    raise HostError(
        f"detector.prefix: an IOC of the prefix {prefix} runs since {started}, on another host; stop that one first, or give this "
        "detector another prefix"
    )
