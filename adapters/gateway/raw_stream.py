"""The raw stream below LiteLLM, watched for its end.

LiteLLM reports a stream that was cut cleanly, and an empty one, as finished with "stop". So the
bytes are watched where all its HTTP providers pass, in its aiohttp transport. Providers that bring
a transport of their own (boto) are not seen, and LiteLLM is trusted about them.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import httpx
import orjson

from adapters.litellm import LiteLLMAiohttpTransport

_END = re.compile(
    rb'^data: ?\[DONE\]|"(?:finish_reason|finishReason|stop_reason)": ?"[^"]'
    rb'|"type": ?"(?:message_stop|message-end|response\.(?:completed|incomplete))"'
    rb'|"done": ?true'
)
_USAGE = re.compile(rb'"(?:usage|usageMetadata)": ?\{|"eval_count"')
_BINARY = ("application/vnd.amazon.eventstream", "application/octet-stream")

StreamVerdict = Literal["complete", "done", "unknown", "truncated", "garbled"]


class StreamWatch:
    """One call's response as it came over the wire; the last response counts."""

    def __init__(self) -> None:
        self.broken = False
        self._begin(watched=False)

    def open(self, headers: httpx.Headers) -> None:
        """Begin a response; one that cannot be read as text is left unwatched."""
        binary = headers.get("content-type", "").startswith(_BINARY)
        self._begin(watched=not binary and "content-encoding" not in headers)

    def _begin(self, *, watched: bool) -> None:
        self._watched = watched
        self._complete = False
        self._done = False
        self._start = b""
        self._line = b""
        self._lines = 0
        self._reports_usage = False

    def feed(self, data: bytes) -> None:
        """Take in some bytes. Markers count only at the level of the protocol: inside a JSON string
        their quotes are escaped, and a raw line break cannot occur."""
        if not self._start:
            self._start = data.lstrip()[:1]
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._read(line)

    def close(self) -> None:
        """End the body, for whatever reason."""
        self._read(self._line)
        self._line = b""

    @property
    def reports_usage(self) -> bool:
        """Return whether the provider reported tokens; trusted where nobody watched."""
        return self._reports_usage or not self._watched

    @property
    def verdict(self) -> StreamVerdict:
        """Say how the answer ended. `done` came without a reason; `unknown`: unwatched, or a plain
        JSON document."""
        if self._complete:
            return "complete"
        if self._done:
            return "done"
        if not self._watched:
            return "unknown"
        if not self._start or self._start == b"<":
            return "garbled"
        return "truncated" if self._lines else "unknown"

    def _read(self, line: bytes) -> None:
        self._lines += line.startswith((b"data:", b"event:", b'{"model"'))
        self._reports_usage = self._reports_usage or _USAGE.search(line) is not None
        match = _END.search(line)
        if match is None:
            return
        if match[0].startswith(b"data:"):
            self._done = True
        else:
            # Ollama's tool arguments are real JSON, so that "done" may be one of them.
            self._complete |= match[0][:5] != b'"done' or _is_done(line)


def _is_done(line: bytes) -> bool:
    try:
        return orjson.loads(line).get("done") is True
    except (ValueError, AttributeError):
        return False


class _WatchedBody(httpx.AsyncByteStream):
    def __init__(self, body: Any, watch: StreamWatch) -> None:
        self._body = body
        self._watch = watch

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async with aclosing(self._body.__aiter__()) as parts:
                async for part in parts:
                    self._watch.feed(part)
                    yield part
            self._watch.close()
        except Exception:
            self._watch.broken = True
            raise

    async def aclose(self) -> None:
        await self._body.aclose()


_current: ContextVar[StreamWatch | None] = ContextVar("stream_watch", default=None)


@contextmanager
def watching(watch: StreamWatch) -> Iterator[None]:
    """Let the requests made inside belong to this watch."""
    token = _current.set(watch)
    try:
        yield
    finally:
        _current.reset(token)


_send: Callable[[Any, httpx.Request], Awaitable[httpx.Response]]
_send = LiteLLMAiohttpTransport.handle_async_request


async def _send_watched(transport: Any, request: httpx.Request) -> httpx.Response:
    watch = _current.get()
    if watch is None:
        return await _send(transport, request)
    request.headers["accept-encoding"] = "identity"
    response = await _send(transport, request)
    if response.status_code == httpx.codes.OK:
        watch.open(response.headers)
        response.stream = _WatchedBody(response.stream, watch)
    return response


def install() -> None:
    """Watch this process's LiteLLM; doing it again changes nothing."""
    LiteLLMAiohttpTransport.handle_async_request = _send_watched
