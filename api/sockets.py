"""Sockets: a stream of events over a WebSocket, until either side ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import WebSocket, WebSocketDisconnect

_DATA = b"data: "


async def send_events(socket: WebSocket, frames: AsyncIterator[bytes]) -> None:
    """Send each event's JSON as a text; what the client says is passed over."""
    sending = asyncio.create_task(_send(socket, frames))
    try:
        while True:
            await socket.receive()
            if sending.done():
                return
    except (WebSocketDisconnect, RuntimeError):
        return
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
            await sending


async def _send(socket: WebSocket, frames: AsyncIterator[bytes]) -> None:
    async for frame in frames:
        for line in frame.splitlines():
            if line.startswith(_DATA):
                await socket.send_text(line.removeprefix(_DATA).decode())
