"""``until`` for tests."""

from sim.waiting import until

__all__ = ["until"]
