"""CURVE keys of ZMQ streams, in files: who may subscribe over tcp. Source of the files: zmq.auth.

A server's folder has its own pair, ``server.key`` and ``server.key_secret``, and in ``authorized`` the public keys of clients.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from detectors.errors import ConfigError, HostError

if TYPE_CHECKING:
    import zmq

SERVER: Final = "server"
AUTHORIZED: Final = "authorized"
PUBLIC: Final = ".key"
SECRET: Final = ".key_secret"  # noqa: S105  the end of a file name


class CurveKeys(NamedTuple):
    """What a client needs: the file of its own secret key, and that of the server's public key."""

    secret: Path | str
    server: Path | str


class ClientKeys(NamedTuple):
    """The same, read from their files."""

    public: bytes
    secret: bytes
    server: bytes

    def use(self, socket: "zmq.Socket[Any]") -> None:
        """Let the connections that a socket makes from now on use the keys."""
        socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = self


def server_secret(folder: Path) -> Path:
    """Return the file of a server's secret key."""
    return folder / f"{SERVER}{SECRET}"


def own_keys(folder: Path) -> CurveKeys:
    """Return the keys with which a server's host subscribes to another that has the same folder."""
    return CurveKeys(server_secret(folder), folder / f"{SERVER}{PUBLIC}")


def make_keys(folder: Path, name: str) -> list[Path]:
    """Make a pair for the server, or for a client that is authorized by it; return the files, the public one first.

    Raises HostError when there is one of that name, or the folder cannot be written.
    """
    public, secret = folder / f"{name}{PUBLIC}", folder / f"{name}{SECRET}"
    authorized = folder / AUTHORIZED / f"{name}{PUBLIC}"
    if found := next((path for path in (public, secret, authorized) if path.exists()), None):
        raise HostError(f"{found}: there are keys of this name; remove them first, or choose another name")
    from zmq import auth  # loads asyncio, which workers without keys do not need

    try:
        authorized.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        auth.create_certificates(folder, name)  # pyright: ignore[reportUnknownMemberType]
        secret.chmod(0o600)
        authorized.write_bytes(public.read_bytes())
    except OSError as error:
        raise HostError(f"{folder}: keys cannot be written: {error.strerror}; choose another folder") from None
    return [public, secret]


def load_pair(path: Path | str) -> tuple[bytes, bytes]:
    """Return the public and the secret key in a file. Raises ConfigError."""
    public, secret = _load(Path(path))
    if secret is None:
        raise ConfigError(f"{path}: found a public key, expected a secret one (NAME{SECRET})")
    return public, secret


def load_client(keys: CurveKeys) -> ClientKeys:
    """Return what a client's sockets need. Raises ConfigError."""
    return ClientKeys(*load_pair(keys.secret), _load(Path(keys.server))[0])


def _load(path: Path) -> tuple[bytes, bytes | None]:
    from zmq import auth

    try:
        if path.suffix == SECRET and path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others can read this secret key; chmod 600 {path}")
        return auth.load_certificate(path)  # pyright: ignore[reportUnknownMemberType]
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: no key can be read: {error}; make one with: pebbledaq keys NAME --output {path.parent}"
        ) from None
