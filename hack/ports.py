"""Free ports for servers that are started with a fixed one."""

import random
import socket

RANGE = range(20000, 30000)
"""Below what Linux gives to outgoing connections (32768 and up) and what kwokctl takes (down from 32767): a port of
those may be gone before its server has started."""


def free_port() -> int:
    """A port of this machine that nobody listens on now. OSError when there is none."""
    for port in random.sample(RANGE, len(RANGE)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"Every port from {RANGE.start} to {RANGE.stop - 1} is taken.")
