"""Waiting for other processes, which cannot set an event of ours."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], Awaitable[bool] | bool], pause: float = 0.05) -> None:
    """Return once the condition holds."""
    while not await _holds(condition):  # noqa: ASYNC110
        await asyncio.sleep(pause)


async def _holds(condition: Callable[[], Awaitable[bool] | bool]) -> bool:
    is_met = condition()
    return is_met if isinstance(is_met, bool) else await is_met
