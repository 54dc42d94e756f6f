"""Jobs of a driver: model calls through our gateway, and through LiteLLM with nothing around it."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from domain.errors import ModelFailed
from domain.gateway.calls import CallOrigin
from domain.gateway.completions import ModelRequest, PromptMessage, TextPart
from domain.settings import Settings

_PRICE = {"input": 1000, "output": 1000}
AskAndTime = Callable[[str], Awaitable[tuple[float, float]]]


async def ours(
    home: str,
    provider: str,
    texts: list[str],
    concurrent: int,
    route: list[str],
    tenant: str = "bench",
) -> dict[str, Any]:
    """Measure so many calls at once by a route of these deployments: milliseconds, CPU seconds."""
    async with _gateway(home, provider, route) as gateway:

        async def ask(text: str) -> tuple[float, float]:
            request = ModelRequest(
                model="chat",
                messages=(PromptMessage(role="user", text=text),),
                max_output=20,
            )
            origin = CallOrigin(tenant_id=tenant, user_id="bench", feature="bench")
            begun, first = time.perf_counter(), 0.0
            try:
                async for part in gateway.stream(request, origin):
                    if not first and isinstance(part, TextPart):
                        first = time.perf_counter() - begun
            except ModelFailed as failed:
                refused.append(failed.code)
            return first * 1000, (time.perf_counter() - begun) * 1000

        refused: list[str] = []
        await ask("warm up")
        refused.clear()
        return await _measured(ask, texts, concurrent) | {"refused": refused}


async def theirs(provider: str, texts: list[str], concurrent: int) -> dict[str, Any]:
    """Measure the same with `litellm.acompletion`, as it comes."""
    import litellm

    async def ask(text: str) -> tuple[float, float]:
        begun, first = time.perf_counter(), 0.0
        stream = await litellm.acompletion(
            model="openai/a",
            messages=[{"role": "user", "content": text}],
            base_url=provider,
            api_key="sk-bench",
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=20,
        )
        async for chunk in stream:
            if not first and chunk.choices and chunk.choices[0].delta.content:
                first = time.perf_counter() - begun
        return first * 1000, (time.perf_counter() - begun) * 1000

    await ask("warm up")
    return await _measured(ask, texts, concurrent)


async def _measured(ask: AskAndTime, texts: list[str], concurrent: int) -> dict[str, Any]:
    waiting, times = iter(texts), list[tuple[float, float]]()

    async def one_after_the_other() -> None:
        for text in waiting:
            times.append(await ask(text))

    used, begun = _cpu(), time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(concurrent)))
    return {
        "first": [first for first, _ in times if first],
        "total": [total for _, total in times],
        "cpu": _cpu() - used,
        "seconds": time.perf_counter() - begun,
    }


def _cpu() -> float:
    times = os.times()
    return times.user + times.system


@asynccontextmanager
async def _gateway(home: str, provider: str, route: list[str]) -> AsyncIterator[Any]:
    """Open a gateway on the database of a stack, as its workers have it."""
    import structlog

    from cli.stack.local import joined
    from testing.gateways import gateway_on

    # The result of a job is what it prints.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    deployment = {"base_url": provider, "price": _PRICE, "key_env": "BENCH_KEY"}
    named = {name: deployment | {"model": f"openai/{name.partition('-')[0]}"} for name in route}
    environ = {"PERDURE_DATA_DIR": home, "BENCH_KEY": "sk-bench"}
    async with gateway_on(
        joined(Settings.from_env(environ | _as_environ(named, route)))
    ) as gateway:
        yield gateway


def _as_environ(named: dict[str, Any], route: list[str]) -> dict[str, str]:
    import json

    routes = {"chat": {"deployments": route}}
    return {"PERDURE_DEPLOYMENTS": json.dumps(named), "PERDURE_ROUTES": json.dumps(routes)}
