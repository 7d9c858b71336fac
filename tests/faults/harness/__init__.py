"""What breaks things: a proxy between operator and API server, processes that are killed, clocks that jump."""
