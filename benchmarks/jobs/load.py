"""Jobs of a driver: people who send messages, each in a thread of their own."""

import asyncio
import random
import time
from typing import Any

from benchmarks.jobs.wire import Refused, Seen, Wire

_AT_ONCE = 16


class Turn:
    """One message and its answer, as its sender saw it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sent = self.first = self.last = 0.0
        self.outcome = "lost"

    async def take(self, wire: Wire, thread: str) -> None:
        """Send the message and read its answer to the end."""
        path = f"/api/v1/threads/{thread}/messages"
        self.sent = time.monotonic()
        try:
            await wire.events("POST", path, self._see, {"text": self.text})
        except (Refused, OSError) as error:
            self.outcome = f"refused: {error}"

    def _see(self, event: Seen) -> None:
        if event.type == "text.delta" and not self.first:
            self.first = event.at
        elif event.type == "run.finished":
            self.last = event.at
            self.outcome = event.row["data"]["outcome"]


async def open_loop(
    api: str, token: str, rate: float, seconds: float, seed: int, text: str = "hello"
) -> dict[str, Any]:
    """Send messages that arrive at random (Poisson), whatever the answers take."""
    chance = random.Random(seed)
    at, arrivals = 0.0, []
    while (at := at + chance.expovariate(rate)) < seconds:
        arrivals.append(at)
    return await _arrive(Wire(api, token), arrivals, text)


async def steady(api: str, token: str, rate: float, count: int, text: str) -> dict[str, Any]:
    """Send messages that arrive one after the other, evenly; all at once if the rate is 0."""
    wire, threads = Wire(api, token), list[str]()
    arrivals = [n / rate if rate else 0 for n in range(count)]
    seen = await _arrive(wire, arrivals, text, threads)
    return seen | {"stored": await _stored(wire, threads)}


async def closed_loop(api: str, token: str, concurrent: int, count: int) -> dict[str, Any]:
    """Keep so many messages open at once: the next one is sent when an answer is there."""
    wire = Wire(api, token)
    threads = await _threads(wire, count)
    turns = [Turn(f"hello {n}") for n in range(count)]
    waiting = list(zip(turns, threads, strict=True))

    async def one_after_another() -> None:
        while waiting:
            turn, thread = waiting.pop()
            await turn.take(wire, thread)

    started = time.monotonic()
    await asyncio.gather(*(one_after_another() for _ in range(concurrent)))
    return _seen(turns) | {"seconds": time.monotonic() - started}


async def direct(provider: str, count: int, gap: float) -> dict[str, Any]:
    """Measure the model's own times: its stream read by this client, with nothing between."""
    wire = Wire(provider)
    first: list[float] = []
    whole: list[float] = []
    body = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    for _ in range(count):
        sent = time.monotonic()
        seen: list[float] = []

        def see(event: Seen, seen: list[float] = seen) -> None:
            if b'"content": "' in event.raw and b'"content": ""' not in event.raw:
                seen.append(event.at)

        await wire.events("POST", "/v1/chat/completions", see, body)
        whole.append(time.monotonic() - sent)
        first.append(seen[0] - sent)
        await asyncio.sleep(gap)
    return {"first": first, "whole": whole}


async def _arrive(
    wire: Wire, arrivals: list[float], text: str, threads: list[str] | None = None
) -> dict[str, Any]:
    threads = threads if threads is not None else []
    threads += await _threads(wire, len(arrivals))
    turns = [Turn(f"{text} {n}") for n in range(len(arrivals))]
    started = time.monotonic()

    async def arrive(at: float, turn: Turn, thread: str) -> None:
        await asyncio.sleep(started + at - time.monotonic())
        await turn.take(wire, thread)

    await asyncio.gather(*map(arrive, arrivals, turns, threads))
    return _seen(turns)


async def _threads(wire: Wire, count: int) -> list[str]:
    limit = asyncio.Semaphore(_AT_ONCE)

    async def make() -> str:
        async with limit:
            return str((await wire.json("POST", "/api/v1/threads"))["id"])

    return await asyncio.gather(*(make() for _ in range(count)))


async def _stored(wire: Wire, threads: list[str]) -> list[int]:
    """Count the answers that the record has in each thread."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def count(thread: str) -> int:
        async with limit:
            page = await wire.json("GET", f"/api/v1/threads/{thread}/messages")
        return sum(message["role"] == "assistant" for message in page["items"])

    return await asyncio.gather(*map(count, threads))


def _seen(turns: list[Turn]) -> dict[str, Any]:
    answered = [turn for turn in turns if turn.outcome == "answered"]
    return {
        "count": len(turns),
        "wrong": sorted({turn.outcome for turn in turns if turn not in answered})[:5],
        "unanswered": len(turns) - len(answered),
        "whole": [turn.last - turn.sent for turn in answered],
        "first": [turn.first - turn.sent for turn in answered],
        "texts": [turn.text for turn in turns],
    }
