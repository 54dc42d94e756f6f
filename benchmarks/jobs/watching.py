"""Jobs of a driver: readers of event streams."""

import asyncio
from typing import Any

from benchmarks.driver import note
from benchmarks.jobs.wire import Seen, Wire


async def deltas(api: str, token: str, runs: list[str]) -> list[list[float]]:
    """Read one stream per run to its end: [run, n, when it was here]. Notes when all have begun."""
    wire = Wire(api, token)
    seen: list[list[float]] = []
    begun = _Countdown(len(runs))

    async def read(number: int, run: str) -> None:
        first = True

        def see(event: Seen) -> None:
            nonlocal first
            if first:
                begun.down()
                first = False
            if event.type == "text.delta":
                seen.append([number, event.row["data"]["n"], event.at])

        await wire.events("GET", f"/api/v1/runs/{run}/events", see)

    await asyncio.gather(*(read(number, run) for number, run in enumerate(runs)))
    return seen


async def crowd(url: str, path: str, watchers: int, token: str | None = None) -> dict[str, Any]:
    """Read one stream with many readers, who only count. Notes when all have begun."""
    wire = Wire(url, token)
    begun = _Countdown(watchers)
    counts = [0] * watchers

    async def read(number: int) -> None:
        def see(_: Seen) -> None:
            counts[number] += 1
            if counts[number] == 1:
                begun.down()

        await wire.events("GET", path, see)

    await asyncio.gather(*map(read, range(watchers)))
    return {"min": min(counts), "max": max(counts)}


class _Countdown:
    def __init__(self, count: int) -> None:
        self._left = count

    def down(self) -> None:
        self._left -= 1
        if self._left == 0:
            note("begun")
