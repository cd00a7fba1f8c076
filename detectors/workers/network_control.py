"""The control sockets of a worker on the network: bound to tcp, too, encrypted, for clients that have the keys."""

import zmq

from detectors.curve import load_pair, server_secret
from detectors.errors import HostError
from detectors.hosts import Endpoint
from detectors.outputs.publisher import authenticator
from detectors.sources.connection import notice_lost_peer

_HANDSHAKE_MS = 10_000
"""A client that is not connected after this long is disconnected, ms: a link that loses packets takes seconds."""


class NetworkControl:
    """The tcp side of sockets that are bound to ipc already, where no keys are asked for: ZMQ keeps the rules of each bind.

    Raises ConfigError when the keys cannot be read.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._pair = load_pair(server_secret(endpoint.keys))
        self._authenticator = authenticator(context, endpoint.keys)

    def bind(self, status: zmq.Socket[bytes], command: zmq.Socket[bytes]) -> None:
        """Bind both sockets. Raises HostError."""
        host = self._endpoint.host
        for socket, port in ((status, self._endpoint.status_port), (command, self._endpoint.command_port)):
            socket.curve_publickey, socket.curve_secretkey = self._pair
            socket.curve_server = True
            notice_lost_peer(socket)
            socket.handshake_ivl = _HANDSHAKE_MS
            try:
                socket.bind(f"tcp://{host.bind}:{port}")
            except zmq.ZMQError as error:
                raise HostError(
                    f"control: {host.bind}:{port}: cannot be bound: {error.strerror}; run this worker on the host {host.name}, "
                    "or free the port or choose another control.port_base"
                ) from None

    def close(self) -> None:
        """End the thread that looks at keys."""
        self._authenticator.stop()
