"""Find the server of a PV: by UDP to all search addresses, and through TCP name servers."""

import logging
import selectors
import socket
import threading
import time
from typing import Final

from detectors.pva.connection import SearchConnection
from detectors.pva.encoding import PvaError
from detectors.pva.environment import Address, SearchAddresses, identity
from detectors.pva.messages import Found, parse_search_datagram, search_request

log = logging.getLogger(__name__)

_TICK_S: Final = 0.2
"""Interval at which ``stop`` is checked."""

_CONNECT_S: Final = 3.0


class Searcher:
    """Searches for one PV."""

    def __init__(self, name: str, addresses: SearchAddresses, stop: threading.Event) -> None:
        self._name = name
        self._addresses = addresses
        self._stop = stop
        self._selector = selectors.DefaultSelector()
        self._servers: dict[socket.socket, tuple[Address, SearchConnection]] = {}
        self._sequence = 0
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._udp.bind(("", 0))
        self._udp.setblocking(False)
        self._selector.register(self._udp, selectors.EVENT_READ)

    def close(self) -> None:
        """Close all sockets."""
        for sock in list(self._servers):
            self._drop(sock)
        self._selector.close()
        self._udp.close()

    def find(self, timeout_s: float) -> Address | None:
        """Search once; return the address of the first server that has the PV, None when none answered in time."""
        deadline = time.monotonic() + timeout_s
        self._ask_udp()
        self._ask_name_servers()
        while not self._stop.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            for key, _ in self._selector.select(min(left, _TICK_S)):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                try:
                    found = self._from_udp() if sock is self._udp else self._from_name_server(sock)
                except (OSError, PvaError) as error:
                    log.debug("search for %s: %s", self._name, error)
                    self._drop(sock)
                    continue
                if found is not None:
                    return found
        return None

    def _ask_udp(self) -> None:
        self._sequence += 1
        port = self._udp.getsockname()[1]
        for unicast, addresses in ((True, self._addresses.unicast), (False, self._addresses.broadcast)):
            request = search_request(self._sequence, self._name, port, unicast=unicast)
            for address in addresses:
                try:
                    self._udp.sendto(request, address)
                except OSError as error:
                    log.debug("search at %s:%d: %s", *address, error)

    def _from_udp(self) -> Address | None:
        data, (host, _) = self._udp.recvfrom(65536)
        found = parse_search_datagram(data)
        return found and (found.host or host, found.port)

    def _ask_name_servers(self) -> None:
        asked = {address for address, _ in self._servers.values()}
        for sock, (_, connection) in list(self._servers.items()):
            connection.ask()
            try:
                sock.sendall(connection.outgoing())
            except OSError:
                self._drop(sock)
        for address in self._addresses.name_servers:
            if address in asked:
                continue
            try:
                sock = socket.create_connection(address, _CONNECT_S)
            except OSError as error:
                log.debug("name server %s:%d: %s", *address, error)
                continue
            sock.settimeout(_CONNECT_S)
            self._servers[sock] = (address, SearchConnection(self._name, *identity()))
            self._selector.register(sock, selectors.EVENT_READ)

    def _from_name_server(self, sock: socket.socket) -> Address | None:
        (host, _), connection = self._servers[sock]
        received = sock.recv_into(connection.stream.want()[0])
        if not received:
            raise ConnectionError(f"the name server {host} closed the connection")
        connection.stream.received(received)
        while (event := connection.next_event()) is not None:
            if isinstance(event, Found):
                return event.host or host, event.port
        sock.sendall(connection.outgoing())
        return None

    def _drop(self, sock: socket.socket) -> None:
        """Close the connection to a name server; the UDP socket stays, its errors are of single datagrams."""
        if self._servers.pop(sock, None) is not None:
            self._selector.unregister(sock)
            sock.close()
