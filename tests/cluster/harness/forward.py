"""A forward proxy, as companies put one between their machines and the API server: CONNECT, and bytes to and fro. And
another address of a server, that its certificate does not name.
"""

import selectors
import socket
import socketserver
import threading
from collections.abc import Mapping
from typing import Self

Address = tuple[str, int]


class _Serving:
    """Serves inside its `with`."""

    def __init__(self, server: "_Server") -> None:
        self._server = server

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name=type(self).__name__, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class ForwardProxy(_Serving):
    """`with ForwardProxy({"api.example.test": ("127.0.0.1", 6443)}) as proxy:` knows where those hosts really are.

    `asked` is the head of each CONNECT: nothing else can be seen of TLS.
    """

    def __init__(self, known: Mapping[str, Address]) -> None:
        self.asked: list[str] = []
        super().__init__(_Server(("127.0.0.1", 0), _Forwarding))
        self._server.known, self._server.asked = dict(known), self.asked

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class Relay(_Serving):
    """`with Relay(("127.0.0.1", 6443)) as relay:` what connects to `relay.address` gets there."""

    def __init__(self, there: Address) -> None:
        super().__init__(_Server(("127.0.0.2", 0), _Relaying))
        self._server.known = {"": there}

    @property
    def address(self) -> str:
        return f"127.0.0.2:{self._server.server_address[1]}"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    known: dict[str, Address]
    asked: list[str]


class _Forwarding(socketserver.StreamRequestHandler):
    rbufsize = 0
    """What follows the head belongs to whoever is asked for."""
    server: _Server

    def handle(self) -> None:
        lines = [self.rfile.readline().decode("latin-1").rstrip()]
        while lines[-1]:
            lines.append(self.rfile.readline().decode("latin-1").rstrip())
        self.server.asked.append("\n".join(lines))
        host, _, port = lines[0].split()[1].rpartition(":")
        with socket.create_connection(self.server.known.get(host, (host, int(port)))) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _pass_on(self.connection, there)


class _Relaying(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        with socket.create_connection(self.server.known[""]) as there:
            _pass_on(self.request, there)


def _pass_on(here: socket.socket, there: socket.socket) -> None:
    """Until one side has nothing more to say."""
    with selectors.DefaultSelector() as selector:
        selector.register(here, selectors.EVENT_READ, there)
        selector.register(there, selectors.EVENT_READ, here)
        while True:
            for key, _ in selector.select():
                try:
                    found = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    key.data.sendall(found)
                except OSError:
                    return
                if not found:
                    return
