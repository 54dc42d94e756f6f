"""`perdure up`: the whole stack with one command, kept running until it is stopped."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.stack.processes import StackPlan, StackProcesses

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(plan: StackPlan) -> None:
    """Run the stack until SIGINT or SIGTERM; raises PerdureError if it cannot be started."""
    console = Console(stderr=True, highlight=False)
    os.umask(0o077)
    with plan.home.locked():
        if ended := plan.home.end_orphans():
            _say(console, f"Ended what an earlier start had left behind: {', '.join(ended)}.")
        asyncio.run(_run(plan.with_ports(), console))


async def _run(plan: StackPlan, console: Console) -> None:
    stopping = asyncio.Event()
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    stack = StackProcesses(plan, lambda text: _say(console, text))
    serving = asyncio.create_task(_serve(stack, console))
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
    finally:
        await _cancel(serving, stopped)
        _say(console, "Stopping.")
        await stack.stop()


async def _serve(stack: StackProcesses, console: Console) -> None:
    """Start the stack, say that it is ready, and wait for a part that breaks down."""
    broken = asyncio.create_task(stack.broken())
    starting = asyncio.create_task(stack.start())
    try:
        with console.status("Starting Perdure …"):
            await asyncio.wait((starting, broken), return_when=asyncio.FIRST_COMPLETED)
        if not broken.done():
            _announce(starting.result(), console)
        await broken
    finally:
        await _cancel(starting, broken)


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _announce(report: dict[str, Any], console: Console) -> None:
    print(f"ready {json.dumps(report)}", flush=True)
    if console.is_terminal:
        _say(console, f"API {report['api']}, Web UI {report['temporal_ui'] or 'yours'}.")
        _say(console, f"Your API key is in {Path(report['data_dir']) / 'api_key'}. Ctrl-C stops.")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
