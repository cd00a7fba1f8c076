"""Every error a user of pebbledaq can meet.

The message carries what was found, what was expected and what to do. ``exit_code`` is what a command that ends on the
error returns: 2 when the request itself is wrong, 1 when the host or the data refused it.
"""


class PebbleDaqError(Exception):
    """Base of all errors that are reported in one line, without a traceback."""

    exit_code = 1


class ConfigError(PebbleDaqError):
    """The configuration or a command's arguments are wrong. ``problems`` holds every mistake found, one line each."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class SizingError(ConfigError):
    """A buffer count or size breaks one of the sizing rules."""


class ProcessingError(ConfigError):
    """A user's function failed on an image, or returned what is no result."""


class HostError(PebbleDaqError):
    """The machine refused: port in use, folder not writable, too little memory."""


class WireError(PebbleDaqError):
    """Bytes that came from outside do not follow their format."""


class PoolError(PebbleDaqError):
    """A loan or lease was used against its rules: a mistake in this program, not in the data."""


class DoubleReleaseError(PoolError):
    """A loan or lease was given back twice."""


class UseAfterReleaseError(PoolError):
    """A loan or lease was used after it had been given back."""


class CapacityError(PoolError):
    """More bytes were asked of a slot than it has."""


class PoolExhaustedError(PebbleDaqError):
    """No slot came free within the time allowed."""


class TransitionRefusedError(PebbleDaqError):
    """A run transition is not legal in the present state; nothing was changed."""


class CommandError(PebbleDaqError):
    """A worker refused a command, or did not answer in time."""


class BufferReadError(PebbleDaqError):
    """A requested pulse or range cannot be read from the binary buffer."""


class NotInBufferError(BufferReadError):
    """A pulse that the binary buffer does not hold: there is nothing, where a torn record is something."""
