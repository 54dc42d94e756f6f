"""A light HTTP/1.1 client: its cost must not disturb what it measures (no httpx here)."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

OnEvent = Callable[["Seen"], None]


class Refused(Exception):
    """An answer that is not a success."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A server-sent event, and when it reached this process (CLOCK_MONOTONIC)."""

    at: float
    seq: int
    type: str
    raw: bytes

    @property
    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = json.loads(self.raw)
        return row


class Wire:
    """One server, called over as many kept-alive connections as are needed at once."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._idle: list[_ClientConnection] = []
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        self._head = f"Host: {self._host}:{self._port}\r\n{authorization}"

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON that a request is answered with. Raises Refused."""
        answer = await self._ask(self._request(method, path, body, "application/json"), None)
        return json.loads(answer) if answer else None

    async def events(
        self, method: str, path: str, on_event: OnEvent, body: Any = None, after: int | None = None
    ) -> None:
        """Hand each event of a stream to `on_event`, until the server ends it; raises Refused."""
        more = f"Last-Event-ID: {after}\r\n" if after is not None else ""
        await self._ask(self._request(method, path, body, "text/event-stream", more), on_event)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().transport.close()

    def _request(self, method: str, path: str, body: Any, accept: str, more: str = "") -> bytes:
        data = b"" if body is None else json.dumps(body).encode()
        kind = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n" if data else ""
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Accept: {accept}\r\n{more}{kind}\r\n"
        return head.encode() + data

    async def _ask(self, request: bytes, on_event: OnEvent | None) -> bytes:
        connection = self._idle.pop() if self._idle else await self._connect()
        try:
            answer = await connection.ask(request, on_event)
        except BaseException:
            connection.transport.close()
            raise
        if not connection.lost:
            self._idle.append(connection)
        return answer

    async def _connect(self) -> "_ClientConnection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_ClientConnection, self._host, self._port)
        return connection


class _ClientConnection(asyncio.Protocol):
    """One request at a time; a body is chunked or has a length, events are parsed as they come."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.lost = False
        self._buffer = b""
        self._answer: asyncio.Future[bytes] | None = None

    def ask(self, request: bytes, on_event: OnEvent | None) -> "asyncio.Future[bytes]":
        self._answer = asyncio.get_running_loop().create_future()
        self._on_event = on_event
        self._status = 0
        self._left: int | None = None
        self._chunked = False
        self._body = b""
        self.transport.write(request)
        return self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is of another family

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("The server went away."))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._buffer += data
        if not self._status and not self._read_head():
            return
        if self._chunked:
            ended = self._read_chunks(now)
        else:
            self._take(self._buffer, now)
            self._left = (self._left or 0) - len(self._buffer)
            self._buffer = b""
            ended = self._left <= 0
        if ended and self._answer and not self._answer.done():
            self._set_result(self._answer)

    def _set_result(self, answer: "asyncio.Future[bytes]") -> None:
        if self._status < 300:
            answer.set_result(self._body)
        else:
            answer.set_exception(Refused(f"{self._status} {self._body[:300]!r}"))

    def _read_head(self) -> bool:
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return False
        lower = head.lower()
        self._buffer = rest
        self._status = int(head[9:12])
        self._chunked = b"transfer-encoding: chunked" in lower
        _, _, length = lower.partition(b"content-length: ")
        self._left = int(length.split(b"\r\n", 1)[0]) if length else 0
        return True

    def _read_chunks(self, now: float) -> bool:
        while True:
            size, separator, rest = self._buffer.partition(b"\r\n")
            if not separator:
                return False
            length = int(size, 16)
            if len(rest) < length + 2:
                return False
            self._buffer = rest[length + 2 :]
            if not length:
                return True
            self._take(rest[:length], now)

    def _take(self, data: bytes, now: float) -> None:
        self._body += data
        if self._on_event is None or self._status >= 300:
            return
        *frames, self._body = self._body.split(b"\n\n")
        for frame in frames:
            lines = dict(line.partition(b": ")[::2] for line in frame.split(b"\n"))
            if b"data" in lines:
                seq, kind = int(lines.get(b"id", 0)), lines.get(b"event", b"").decode()
                self._on_event(Seen(now, seq, kind, lines[b"data"]))
