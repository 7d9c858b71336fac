"""The connection of one API server to etcd, on which news can be kept back while questions are still answered.

That is how an API server falls behind: its watch cache stands still, and with it every watch that it serves, while
reads and writes go through. Both travel in one HTTP/2 connection, so the relay tells them apart by their frames: a call
with one question ends its side of the stream with it, the stream of a watch stays open on both.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from .proxy import shared_loop

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = 9
DATA, HEADERS, RESET = 0, 1, 3
END_STREAM = 1


class EtcdLink:
    """`with EtcdLink(port_of_etcd) as link:` relays from `link.port` to it."""

    def __init__(self, etcd: int) -> None:
        self.port = 0
        self.kept = 0
        """Answers to watches that were kept back so far."""
        self._etcd = etcd
        self._behind = False
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        shared_loop().run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        shared_loop().run(self._stop())

    @contextmanager
    def behind(self) -> Iterator[None]:
        """Inside no watch hears anything; at the end all comes at once."""
        shared_loop().run(self._switch(behind=True))
        try:
            yield
        finally:
            shared_loop().run(self._switch(behind=False))

    async def _switch(self, *, behind: bool) -> None:
        self._behind = behind
        if not behind:
            for connection in self._connections:
                connection.release()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server: asyncio.StreamWriter | None = None
        connection = _Connection(writer)
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self._etcd)
            self._connections.add(connection)
            server.write(await reader.readexactly(len(PREFACE)))
            async with asyncio.TaskGroup() as both:
                both.create_task(self._ask(connection, reader, server))
                both.create_task(self._answer(connection, answers))
        except* (OSError, EOFError):
            pass  # one of the two is gone
        finally:
            self._connections.discard(connection)
            self._tasks.discard(task)
            for each in (writer, server):
                if each is not None:
                    each.close()

    async def _ask(self, connection: "_Connection", reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while True:
            head, body = await _frame(reader)
            connection.asked(head)
            server.write(head + body)
            await server.drain()

    async def _answer(self, connection: "_Connection", reader: asyncio.StreamReader) -> None:
        while True:
            head, body = await _frame(reader)
            if self._behind and connection.is_news(head):
                connection.keep(head + body)
                self.kept += 1
                continue
            if head[3] == HEADERS and head[4] & END_STREAM:
                connection.release()  # headers can only be read in the order in which they were sent: an end is one
            connection.writer.write(head + body)
            with contextlib.suppress(ConnectionResetError):
                await connection.writer.drain()


class _Connection:
    """One connection of the API server, with the streams in which it may still ask."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._open: set[int] = set()
        self._kept: list[bytes] = []

    def asked(self, head: bytes) -> None:
        kind, stream = head[3], _stream(head)
        if kind == HEADERS:
            self._open.add(stream)
        if kind == RESET or (kind in (DATA, HEADERS) and head[4] & END_STREAM):
            self._open.discard(stream)

    def is_news(self, head: bytes) -> bool:
        return head[3] == DATA and _stream(head) in self._open

    def keep(self, frame: bytes) -> None:
        self._kept.append(frame)

    def release(self) -> None:
        self.writer.write(b"".join(self._kept))
        self._kept.clear()


async def _frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(HEAD)
    return head, await reader.readexactly(int.from_bytes(head[:3], "big"))


def _stream(head: bytes) -> int:
    return int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
