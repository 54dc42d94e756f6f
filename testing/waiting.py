"""Waiting for a condition instead of sleeping, with a deadline that fails the test."""

import asyncio
import time
from collections.abc import Awaitable, Callable

_PAUSE_SECONDS = 0.02


def wait_until(predicate: Callable[[], object], seconds: float = 30) -> None:
    """Return once the predicate is true; fail after a while."""
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, f"still not true after {seconds} s"
        time.sleep(_PAUSE_SECONDS)


async def eventually(predicate: Callable[[], Awaitable[object]], seconds: float = 30) -> None:
    """Return once the awaited predicate is true; fail after a while."""
    deadline = time.monotonic() + seconds
    while not await predicate():
        assert time.monotonic() < deadline, f"still not true after {seconds} s"
        await asyncio.sleep(_PAUSE_SECONDS)
