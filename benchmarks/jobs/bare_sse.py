"""The floor of fan-out: a bare `StreamingResponse` of bytes, fed from a queue per reader.

`python -m benchmarks.bare_sse READERS RATE SECONDS` serves at `/`; events begin when all are there.
"""

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route


class Source:
    """Sends the same bytes to every queue, at a rate, for a while."""

    def __init__(self, readers: int, rate: float, seconds: float) -> None:
        self._readers = readers
        self._rate = rate
        self._count = int(rate * seconds)
        self._queues: list[asyncio.Queue[bytes | None]] = []
        self._task: asyncio.Task[None] | None = None

    async def answer(self, _: Request) -> StreamingResponse:
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._queues.append(queue)
        yield _frame(0)
        if len(self._queues) == self._readers:
            self._task = asyncio.create_task(self._feed())
        while (frame := await queue.get()) is not None:
            yield frame

    async def _feed(self) -> None:
        await asyncio.sleep(1)
        begun = time.monotonic()
        for n in range(self._count):
            await asyncio.sleep(begun + n / self._rate - time.monotonic())
            frame = _frame(n + 1)
            for queue in self._queues:
                queue.put_nowait(frame)
        for queue in self._queues:
            queue.put_nowait(None)


def _frame(n: int) -> bytes:
    row = {
        "run_id": "turn.0123456789abcdef0123456789abcdef.first",
        "seq": n,
        "type": "text.delta",
        "step": 1,
        "attempt": 1,
        "data": {"text": f"word {n} of many ", "n": n},
        "created_at": "2026-01-01T00:00:00.000000Z",
    }
    return b"id: %d\nevent: text.delta\ndata: %s\n\n" % (n, orjson.dumps(row))


def main() -> None:
    """Serve on a free port, which is printed."""
    readers, rate, seconds = (float(word) for word in sys.argv[1:4])
    app = Starlette(routes=[Route("/", Source(int(readers), rate, seconds).answer)])
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_config=None, access_log=False, backlog=4096)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
