"""Sockets: a stream of events over a WebSocket, until either side ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import WebSocket, WebSocketDisconnect

from domain.errors import PerdureError

_DATA = b"data: "
# RFC 6455's 1011 is for what went wrong here, 1013 says that another try may help.
_TRY_AGAIN = 1013


async def send_events(socket: WebSocket, frames: AsyncIterator[bytes]) -> None:
    """Send each event's JSON as a text, and ignore what the client sends."""
    tasks = {asyncio.create_task(_send(socket, frames)), asyncio.create_task(_listen(socket))}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    if any(isinstance(error, PerdureError) for error in ended):
        await socket.close(_TRY_AGAIN)


async def _listen(socket: WebSocket) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await socket.receive_text()


async def _send(socket: WebSocket, frames: AsyncIterator[bytes]) -> None:
    async for frame in frames:
        for line in frame.splitlines():
            if line.startswith(_DATA):
                await socket.send_text(line.removeprefix(_DATA).decode())
