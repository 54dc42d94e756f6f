"""Batches on the screen: a progress bar that follows a run's events."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli.client import Client


def follow(client: Client, run_id: str, out: Console) -> dict[str, Any]:
    """Show the progress of a batch until it ends, and return the data of its last event."""
    columns = (
        TextColumn("Scoring"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    last: dict[str, Any] = {}
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task("", total=None, speed="")
        for event in client.events(run_id):
            last = event["data"]
            if event["type"] == "batch.progressed":
                speed = f"{last['rate']:,.0f}/s"
                if last["eta_seconds"]:
                    speed += f", {last['eta_seconds']:,.0f} s left"
                done = last["scored"] + last["failed"]
                progress.update(task, total=last["total"], completed=done, speed=speed)
            elif event["type"] == "batch.paused":
                progress.update(task, speed=f"paused {last['note']}")
    result = last.get("result") or {}
    out.print(
        f"{last['outcome'].replace('_', ' ')}: {result.get('scored', 0):,} scored, "
        f"{result.get('failed', 0):,} failed."
    )
    if last["error"]:
        out.print(f"  {last['error']['detail']}", markup=False)
    return last
