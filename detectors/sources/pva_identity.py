"""Who we say we are to a PVA server, by its method "ca": as Channel Access does, on trust."""

import getpass
import socket


def identity() -> tuple[str, str]:
    """Return user and host; the user is "" where the account has no name, and we are anonymous then."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    return user, socket.gethostname()
