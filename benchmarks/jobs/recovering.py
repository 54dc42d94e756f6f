"""Jobs of a driver: a client that is there when things die, and one that changes its mind."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from temporalio.client import Client

from benchmarks.driver import note
from benchmarks.jobs.wire import Refused, Seen, Wire
from domain.names import workflow_id

_PAUSE = 0.02


class Watcher:
    """One run's events, read in the background."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._changed = asyncio.Event()
        self.events: list[Seen] = []

    def see(self, event: Seen) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, fits: Callable[[Seen], object]) -> Seen:
        """Return the first event that fits, as soon as it is there."""
        while True:
            for event in self.events:
                if fits(event):
                    return event
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 60)

    async def say(self, text: str) -> "tuple[str, asyncio.Task[None]]":
        """Send a message in a new thread, and read its run until it ends."""
        thread = (await self._wire.json("POST", "/api/v1/threads"))["id"]
        path = f"/api/v1/threads/{thread}/messages"
        run = (await self._wire.json("POST", path, {"text": text}))["run_id"]
        reading = self._wire.events("GET", f"/api/v1/runs/{run}/events", self.see)
        return run, asyncio.ensure_future(reading)


async def worker_killed(api: str, token: str, temporal: str) -> float:
    """Kill the worker that streams, and wait for the words of another: seconds between."""
    watcher = Watcher(Wire(api, token))
    run, reading = await watcher.say("talk")
    await watcher.until(lambda event: event.type == "text.delta" and event.seq > 10)
    client = await Client.connect(temporal)
    description = await client.get_workflow_handle(workflow_id("default", run)).describe()
    (pending,) = description.raw_description.pending_activities
    os.kill(int(pending.last_worker_identity.partition("@")[0]), signal.SIGKILL)
    killed = time.monotonic()
    again = await watcher.until(lambda e: e.type == "text.delta" and e.row["attempt"] > 1)
    await reading
    return again.at - killed


async def api_killed(api: str, token: str) -> dict[str, float]:
    """Note that the stream runs, lose it, come back: when it was lost, when the API answered
    again, and when the next event came."""
    watcher = Watcher(Wire(api, token))
    run, reading = await watcher.say("talk")
    await watcher.until(lambda event: event.type == "text.delta" and event.seq > 10)
    note("streaming")
    with suppress(OSError):
        await reading
    lost, last = time.monotonic(), watcher.events[-1].seq
    healthy = asyncio.ensure_future(_healthy(api))
    while True:
        with suppress(OSError, Refused):
            path = f"/api/v1/runs/{run}/events"
            await Wire(api, token).events("GET", path, watcher.see, after=last)
            break
        await asyncio.sleep(_PAUSE)
    event = await watcher.until(lambda event: event.seq > last)
    return {"lost": lost, "healthy": await healthy, "event": event.at}


async def cancels(api: str, token: str, count: int, folder: str | None) -> list[float]:
    """Cancel runs one after the other, in a tool that is silent or in the model's stream."""
    return [await _cancel(api, token, n, folder) for n in range(count)]


async def _cancel(api: str, token: str, number: int, folder: str | None) -> float:
    wire = Wire(api, token)
    watcher = Watcher(wire)
    text, sign = "talk", "text.delta"
    if folder:
        files = f'{{"started": "{folder}/s{number}", "cancelled": "{folder}/c{number}"}}'
        text, sign = f"call odd_wait {files}", "tool.started"
    run, reading = await watcher.say(text)
    await watcher.until(lambda event: event.type == sign)
    await asyncio.sleep(0.3)
    sent = time.monotonic()
    answer: Any = await wire.json("POST", f"/api/v1/runs/{run}/cancel")
    assert answer["status"] == "cancelling"
    finished = await watcher.until(lambda event: event.type == "run.finished")
    assert finished.row["data"]["outcome"] == "cancelled", finished.raw
    await reading
    wire.close()
    return finished.at - sent


async def _healthy(api: str) -> float:
    while True:
        with suppress(OSError, Refused):
            await Wire(api).json("GET", "/health")
            return time.monotonic()
        await asyncio.sleep(_PAUSE)
