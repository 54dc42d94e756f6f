"""A scriptable model provider on loopback: OpenAI's protocol, with faults on request.

`async with Provider() as provider:` in a test, or `python -m testing.provider --port N` as a
process of its own that `POST /script`, `POST /reset`, `GET /journal` and `GET /requests` steer
and read.
A user's text may choose too: `[[fault:reset_mid]]` always, `[[once:unavailable]]` only the first
time it is seen.
"""

import argparse
import asyncio
import json
import socket
import struct
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from testing.provider_replies import Ask, ProviderAct, Reply, marked, reply, text_of

_CHATS = frozenset({"/v1/chat/completions", "/chat/completions", "/v1/messages", "/api/chat"})
_TLS_HANDSHAKE = b"\x16\x03"
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}


@dataclass
class Entry:
    """One request. `state`: open, finished, reset, or disconnected (the client went away)."""

    number: int
    time: float
    path: str
    model: str
    user_text: str
    messages: int
    last_role: str
    tools: list[str]
    kind: str
    state: str = "open"
    sent: int = 0


@dataclass
class Script:
    """What to do next: one-shot behaviours first, then the default; and what was asked so far."""

    default: ProviderAct = field(default_factory=ProviderAct)
    queues: dict[str, deque[ProviderAct]] = field(default_factory=dict)
    journal: list[Entry] = field(default_factory=list)
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=1000))
    _seen: set[str] = field(default_factory=set)

    def choose(self, ask: Ask) -> ProviderAct:
        """The queue for such a prompt first, then what the text asks for, then the default."""
        user_text, model = ask.user_text, ask.model
        if (queued := self._queued(ask)) is not None:
            return queued
        # A request for a summary quotes what users said, markers too.
        if user_text.startswith("Write a summary"):
            return ProviderAct(text="They talked for long.")
        if (found := marked(user_text, model)) is None:
            return self.default
        behaviour, once = found
        if once and user_text in self._seen:
            return self.default
        self._seen.add(user_text)
        return behaviour

    def play(self, *behaviours: ProviderAct, words: str = "") -> None:
        """Queue one-shot behaviours, for prompts in which these words are."""
        self.queues.setdefault(words, deque()).extend(behaviours)

    def load(self, body: dict[str, Any]) -> None:
        """Apply a `POST /script`."""
        if "default" in body:
            self.default = ProviderAct.parse(body["default"])
        queue = (ProviderAct.parse(item) for item in body.get("queue", ()))
        self.play(*queue, words=body.get("words", ""))

    def reset(self, words: str = "") -> None:
        """Forget the queue of these words; without words, everything."""
        if words:
            self.queues.pop(words, None)
            return
        self.default = ProviderAct()
        self.queues.clear()
        self.journal.clear()
        self.requests.clear()
        self._seen.clear()

    def _queued(self, ask: Ask) -> ProviderAct | None:
        prompt = "\n".join(text_of(message) for message in ask.messages)
        for words, queue in self.queues.items():
            if queue and words in prompt:
                return queue.popleft()
        return None


class Provider:
    """The server. `url` ends in `/v1`, `root` does not."""

    def __init__(self, port: int = 0) -> None:
        self.script = Script()
        self._port = port
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        make = lambda: _Connection(self)  # noqa: E731
        self._server = await loop.create_server(make, "127.0.0.1", self._port, backlog=2048)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self.connections):
            connection.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    @property
    def journal(self) -> list[Entry]:
        return self.script.journal

    def play(self, *behaviours: ProviderAct) -> None:
        """Queue one-shot behaviours."""
        self.script.play(*behaviours)

    async def ended(self, index: int = -1) -> Entry:
        """Wait until a request of the journal is no longer open."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_closed(index))
        return self.journal[index]

    def _is_closed(self, index: int) -> bool:
        return bool(self.journal) and self.journal[index].state != "open"

    def spawn(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close_entry(self, entry: Entry, state: str) -> None:
        if entry.state == "open":
            entry.state = state
            self.spawn(self._report())

    async def _report(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class _Connection(asyncio.Protocol):
    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None
        self._entry: Entry | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._provider.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._provider.connections.discard(self)
        if self._entry is not None:
            self._provider.close_entry(self._entry, "disconnected")
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.startswith(_TLS_HANDSHAKE):
            self._transport.write(_head(400, "text/plain", {}, 0))
            return self._transport.close()
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        method, target, _ = request_line.split(" ", 2)
        self._answer(method, target.partition("?")[0], rest[:length])

    def _answer(self, method: str, path: str, body: bytes) -> None:
        if method == "POST" and path in _CHATS:
            return self._chat(path, json.loads(body))
        if method == "POST" and path == "/v1/embeddings":
            return self._embed(json.loads(body))
        script = self._provider.script
        if path == "/script":
            script.load(json.loads(body))
        elif path == "/reset":
            script.reset(json.loads(body or b"{}").get("words", ""))
        elif path == "/journal":
            return self._json([asdict(entry) for entry in script.journal])
        elif path == "/requests":
            return self._json(list(script.requests))
        elif path == "/v1/models":
            return self._json({"object": "list", "data": [{"id": "test", "object": "model"}]})
        else:
            return self._json({"error": {"message": f"No {path} here."}}, status=404)
        return self._json({"ok": True})

    def _embed(self, body: dict[str, Any]) -> None:
        """A vector of two numbers for each text: its length, and 1."""
        self._provider.script.requests.append(body)
        items = [
            {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0]}
            for index, text in enumerate(body["input"])
        ]
        usage = {"prompt_tokens": len(items), "total_tokens": len(items)}
        # In no order: a client must look at the index.
        self._json({"object": "list", "model": body["model"], "data": items[::-1], "usage": usage})

    def _json(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self._transport.write(_head(status, "application/json", {}, len(body)) + body)

    def _chat(self, path: str, body: dict[str, Any]) -> None:
        script = self._provider.script
        tools = [tool.get("function", tool).get("name", "") for tool in body.get("tools") or ()]
        number = len(script.journal) + 1
        streams = body.get("stream", path == "/api/chat")
        ask = Ask(number, body.get("model", ""), body.get("messages", []), streams, tools)
        behaviour = script.choose(ask)
        self._entry = Entry(
            number=number,
            time=time.time(),
            path=path,
            model=ask.model,
            user_text=ask.user_text,
            messages=len(ask.messages),
            last_role=ask.messages[-1].get("role", "") if ask.messages else "",
            tools=tools,
            kind=behaviour.kind,
        )
        script.journal.append(self._entry)
        script.requests.append(body)
        self._start(self._entry, reply(behaviour, ask))

    def _start(self, entry: Entry, answer: Reply) -> None:
        if answer.end == "finish" and not (answer.first_delay or answer.chunk_delay):
            self._burst(entry, answer)
        else:
            self._task = self._provider.spawn(self._drip(entry, answer))

    def _burst(self, entry: Entry, answer: Reply) -> None:
        body = b"".join(answer.frames)
        if answer.stream:
            head = _head(answer.status, answer.content_type, answer.headers, None)
            body = _chunked(body) + b"0\r\n\r\n"
        else:
            head = _head(answer.status, answer.content_type, answer.headers, len(body))
        self._transport.write(head + body)
        entry.sent = len(answer.frames)
        self._provider.close_entry(entry, "finished")

    async def _drip(self, entry: Entry, answer: Reply) -> None:
        if answer.first_delay:
            await asyncio.sleep(answer.first_delay)
        if not answer.stream:
            return self._burst(entry, answer)
        self._transport.write(_head(answer.status, answer.content_type, answer.headers, None))
        for frame in answer.frames:
            self._transport.write(_chunked(frame))
            entry.sent += 1
            await asyncio.sleep(answer.chunk_delay)
        self._end(entry, answer)

    def _end(self, entry: Entry, answer: Reply) -> None:
        if answer.end == "finish":
            self._transport.write(b"0\r\n\r\n")
            self._provider.close_entry(entry, "finished")
        elif answer.end == "reset":
            self._provider.close_entry(entry, "reset")
            peer = self._transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()


def _head(status: int, content_type: str, headers: dict[str, str], length: int | None) -> bytes:
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reason = _REASONS.get(status, "Status")
    kind = f"content-type: {content_type}"
    return f"HTTP/1.1 {status} {reason}\r\n{kind}\r\n{size}\r\n{more}\r\n".encode("latin-1")


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


async def _serve(port: int) -> None:
    async with Provider(port) as provider:
        print(provider.url, flush=True)  # noqa: T201
        await asyncio.Event().wait()


def main() -> None:
    """Serve until killed; prints the address once it listens."""
    parser = argparse.ArgumentParser(description="A scriptable model provider.")
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
