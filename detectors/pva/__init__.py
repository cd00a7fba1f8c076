"""A PVA client for large arrays: the kernel writes the pixels into the subscriber's memory, nothing copies them.

Imports nothing of pebbledaq, and could be a distribution of its own: see README.md. The protocol is without I/O (``encoding``,
``pvdata``, ``messages``, ``message_stream``, ``connection``); ``search`` and ``session`` have the sockets.
"""

from detectors.pva.connection import ArrayBegins, Introspected, Updated
from detectors.pva.encoding import PvaError
from detectors.pva.session import Subscriber, Subscription, Timeouts

__all__ = ["ArrayBegins", "Introspected", "PvaError", "Subscriber", "Subscription", "Timeouts", "Updated"]
