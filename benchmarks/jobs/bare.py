"""The floors: a bare workflow of a turn's shape, and LiteLLM without anything around it.

`python -m benchmarks.bare ADDRESS` is the bare worker; the rest are jobs of a driver.
"""

import asyncio
import random
import sys
import time
import uuid
from datetime import timedelta
from typing import Any

import uvloop
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

_QUEUE = "bare"
_LIMIT = timedelta(seconds=10)


@activity.defn
async def nothing() -> None:
    """Do nothing."""


@workflow.defn
class BareTurn:
    """Local activity, activity, local activity: all empty."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_local_activity(nothing, start_to_close_timeout=_LIMIT)
        await workflow.execute_activity(nothing, start_to_close_timeout=_LIMIT)
        await workflow.execute_local_activity(nothing, start_to_close_timeout=_LIMIT)


async def work(address: str) -> None:
    """Run a worker with nothing but the SDK's defaults, and like ours without the sandbox."""
    client = await Client.connect(address)
    async with Worker(
        client,
        task_queue=_QUEUE,
        workflows=[BareTurn],
        activities=[nothing],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        print("ready", flush=True)
        await asyncio.Event().wait()


async def open_loop(temporal: str, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Start bare workflows that arrive at random, as the messages do."""
    client = await Client.connect(temporal)
    chance = random.Random(seed)
    at, arrivals = 0.0, []
    while (at := at + chance.expovariate(rate)) < seconds:
        arrivals.append(at)
    started = time.monotonic()

    async def arrive(at: float) -> float:
        await asyncio.sleep(started + at - time.monotonic())
        return await _one(client)

    return {"whole": await asyncio.gather(*map(arrive, arrivals))}


async def closed_loop(temporal: str, concurrent: int, count: int) -> dict[str, Any]:
    """Keep so many bare workflows running at once."""
    client = await Client.connect(temporal)
    waiting = list(range(count))

    async def one_after_another() -> None:
        while waiting:
            waiting.pop()
            await _one(client)

    started = time.monotonic()
    await asyncio.gather(*(one_after_another() for _ in range(concurrent)))
    return {"seconds": time.monotonic() - started}


async def model(base_url: str, rate: float, count: int) -> dict[str, Any]:
    """Stream with LiteLLM directly from the provider; return the seconds to the first word."""
    import litellm

    async def ask(number: int) -> float:
        await asyncio.sleep(number / rate)
        sent = time.monotonic()
        first = 0.0
        chunks = await litellm.acompletion(
            model="openai/scripted",
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            api_base=base_url,
            api_key="sk-test",
        )
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content and not first:
                first = time.monotonic()
        return first - sent

    return {"first": await asyncio.gather(*map(ask, range(count)))}


async def _one(client: Client) -> float:
    sent = time.monotonic()
    await client.execute_workflow(BareTurn.run, id=uuid.uuid4().hex, task_queue=_QUEUE)
    return time.monotonic() - sent


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))
