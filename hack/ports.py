"""Ports for servers that have to be told one before they start."""

import random
import socket
import weakref

RANGE = range(20000, 30000)
"""Below what Linux gives to outgoing connections (32768 and up) and what kwokctl takes (down from 32767)."""


def reserve_port(owner: object) -> int:
    """A port of 127.0.0.1 where nobody listens, and that no other call gives away as long as the owner lives.

    It is bound here and not listened on: a server that reuses addresses, as most do, can listen there, and once more
    after a restart. OSError when every port is taken.
    """
    for port in random.sample(RANGE, len(RANGE)):
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            continue
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        weakref.finalize(owner, held.close)
        return port
    raise OSError(f"Every port from {RANGE.start} to {RANGE.stop - 1} is taken.")
