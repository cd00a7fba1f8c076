"""What a thread waits on: file descriptors, and a bell that any other thread can ring."""

import os
import select


class Wake:
    """A wait that ends when a watched descriptor is readable, when another thread rings, or in time.

    ``ring`` is for any thread, and for signal handlers: it takes no lock. The rest is for the one thread that waits.
    """

    def __init__(self) -> None:
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        self._rest = select.poll()
        self._rest.register(self._bell, select.POLLIN)
        self.in_vain = False
        """Whether the last wait ended only because its time was over."""

    def fileno(self) -> int:
        """Return the descriptor that is readable after a ring, for pollers of others; ``clear`` it then."""
        return self._bell

    def watch(self, descriptor: int) -> None:
        """End waits also when ``descriptor`` is readable. The thread that waits must read all that is there before the next wait."""
        self._poll.register(descriptor, select.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Let ``descriptor`` end no waits any more: it will be closed."""
        self._poll.unregister(descriptor)

    def ring(self) -> None:
        """End the present wait, or the next one."""
        os.eventfd_write(self._bell, 1)

    def wait(self, timeout_s: float) -> None:
        """Wait for a descriptor or a ring, ``timeout_s`` at most."""
        ready = self._poll.poll(timeout_s * 1000)
        self.in_vain = not ready
        for descriptor, _ in ready:
            if descriptor == self._bell:
                os.eventfd_read(self._bell)

    def rest(self, timeout_s: float) -> None:
        """Let data gather for ``timeout_s``, or until a ring; in whole ms."""
        if self._rest.poll(timeout_s * 1000):
            os.eventfd_read(self._bell)

    def clear(self) -> None:
        """Forget past rings."""
        self.wait(0)

    def close(self) -> None:
        """Close the bell; nothing may ring it any more."""
        os.close(self._bell)
