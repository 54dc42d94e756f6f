"""`perdure demo`: a conversation that survives the death of its worker, on a stack of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.client import Client, Event
from cli.errors import DemoFailed
from cli.runs.runs import decide_for
from cli.runs.screen import RunScreen, show
from cli.stack.errors import StackNotReady
from domain import names
from domain.tools.decisions import Verdict

_WORDS_BEFORE_THE_KILL = 25
_CHORES = ("Add task buy milk", "Add task call grandma and add task water the plants")
_MORE_CHORES = ("Mark task 1 as done", "Update task 3 title to water the cactus")
_STORY = "Tell me a story"


def demo(*, keep: bool) -> None:
    """Play the demo; raises DemoFailed if anything is not as it should be."""
    console = Console(highlight=False)
    console.print("[bold]Perdure[/]: AI work that survives. Starting a stack of its own …\n")
    with home() as folder, stack(folder) as ready:
        _play(console, ready)
        if keep:
            console.print("\nStill running; press Ctrl-C to stop and clean up.")
            signal.sigwait({signal.SIGINT, signal.SIGTERM})


@contextmanager
def home() -> Iterator[Path]:
    """Make a data directory that is gone when the demo is over."""
    with tempfile.TemporaryDirectory(prefix="perdure-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "home"


@contextmanager
def stack(folder: Path) -> Iterator[dict[str, Any]]:
    """Start a stack of the demo's own, and give its `ready` line. Raises StackNotReady."""
    ports = ("--port", "0", "--temporal-port", "0", "--ui-port", "0", "--workers", "2")
    environ = {**os.environ, "PERDURE_ASK_FIRST": "delete_task"}
    for name in ("DATABASE_URL", "TEMPORAL_ADDRESS"):
        environ.pop(name, None)
    command = [sys.executable, "-m", "cli", "up", "--data-dir", str(folder), *ports]
    up = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    try:
        assert up.stdout is not None
        line = up.stdout.readline()
        if not line.startswith("ready "):
            raise StackNotReady("The stack did not start; `perdure doctor` may know why.")
        yield json.loads(line.removeprefix("ready "))
    finally:
        up.terminate()
        up.wait(timeout=60)


def _play(console: Console, ready: dict[str, Any]) -> None:
    client = Client(ready["api"], ready["api_key"])
    thread_id = str(client.call("POST", "/threads")["id"])
    for text in (*_CHORES, "List my tasks", *_MORE_CHORES):
        _say(console, text)
        show(console, client.events(client.say(thread_id, text)))
    _survive(console, client, thread_id, ready["temporal"])
    _approve(console, client, thread_id)
    _say(console, "List my tasks")
    show(console, client.events(client.say(thread_id, "List my tasks")))
    _add_up(console, client, ready)


def _survive(console: Console, client: Client, thread_id: str, temporal: str) -> None:
    """Kill the worker that writes the answer, and see the answer finish."""
    _say(console, _STORY)
    screen, killed, last = RunScreen(console), 0.0, {}
    run_id = client.say(thread_id, _STORY)
    for event in client.events(run_id):
        screen.show(event)
        if killed and event["type"] == "step.superseded":
            console.print(f"[green]⟲ another worker took over after {_since(killed)}[/] ", end="")
        if not killed and len(screen.text.split()) >= _WORDS_BEFORE_THE_KILL:
            pid = asyncio.run(_worker_of(temporal, run_id))
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            console.print(f"[bold red]✗ kill -9 {pid}[/] ", end="")
        last = event
    _check_same(console, client, thread_id, screen, last)


async def _worker_of(temporal: str, run_id: str) -> int:
    """Return the process that runs the pending activity of a run, as Temporal knows it."""
    from temporalio.client import Client as Temporal

    connection = await Temporal.connect(temporal)
    handle = connection.get_workflow_handle(names.workflow_id("default", run_id))
    pending = (await handle.describe()).raw_description.pending_activities
    return int(pending[0].last_worker_identity.partition("@")[0])


def _check_same(
    console: Console, client: Client, thread_id: str, screen: RunScreen, last: Event
) -> None:
    messages = client.call("GET", f"/threads/{thread_id}/messages?limit=100")["items"]
    if not screen.text == last["data"]["text"] == messages[-1]["text"]:
        raise DemoFailed("The text on the screen is not the text that was stored.")
    words = len(screen.text.split())
    console.print(f"[green]✓ {words} words on the screen, the same {words} stored, none twice[/]\n")


def _approve(console: Console, client: Client, thread_id: str) -> None:
    """Approve a tool call that waits for a person: here the demo plays the person."""
    _say(console, "Delete task 2")
    screen = RunScreen(console)
    run_id = client.say(thread_id, "Delete task 2")
    for event in client.events(run_id):
        screen.show(event)
        if event["type"] == "decision.requested":
            data = event["data"]
            console.print(f"[yellow]? {data['tool']} {data['arguments']} waits for a yes[/]")
            decide_for(client, run_id, data["decision_id"], Verdict.APPROVE)
            console.print("[yellow]✓ approved[/]")


def _add_up(console: Console, client: Client, ready: dict[str, Any]) -> None:
    runs = client.call("GET", "/runs?limit=100")["items"]
    tokens = sum(run["usage"]["input_tokens"] + run["usage"]["output_tokens"] for run in runs)
    cost = sum(run["cost_micros"] for run in runs) / 1e6
    if any(run["outcome"] != "answered" for run in runs):
        raise DemoFailed("A turn of the demo was not answered.")
    console.print(f"\n{len(runs)} turns, {tokens} tokens, ${cost:.4f} ({runs[0]['model']}).")
    console.print(f"Temporal's Web UI: {ready['temporal_ui']}  (`perdure demo --keep` to look)")


def _say(console: Console, text: str) -> None:
    console.print(f"[bold cyan]you[/] {text}")


def _since(moment: float) -> str:
    return f"{time.monotonic() - moment:.1f} s"
