"""The operators' verbs for schedules: the same that Temporal's Web UI shows."""

from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from cli.client import connect

app = typer.Typer(help="Recurring work.", no_args_is_help=True)
_out = Console(highlight=False)
_Id = Annotated[str, typer.Argument(help="The schedule's id.")]


@app.command("list")
def list_schedules() -> None:
    """List every schedule, when it is next due, and how its last run ended."""
    table = Table("schedule", "does", "when", "next", "last", "state", box=None)
    for item in connect().call("GET", "/schedules"):
        table.add_row(*_cells(item))
    _out.print(table)


@app.command()
def add(
    schedule_id: _Id,
    cron: Annotated[str | None, typer.Option(help='Five fields, like "0 2 * * *".')] = None,
    every: Annotated[int | None, typer.Option(min=60, help="Seconds, instead of cron.")] = None,
    time_zone: str = "UTC",
    jitter: Annotated[int, typer.Option(min=0, max=86_400, help="Seconds.")] = 0,
    kind: Annotated[Literal["rescore", "check"], typer.Option()] = "rescore",
    note: str = "",
) -> None:
    """Create a schedule: a rescoring of all leads, or a check of the scores."""
    spec = {"cron": cron, "every_seconds": every, "time_zone": time_zone, "jitter_seconds": jitter}
    body = {"id": schedule_id, "spec": spec, "work": {"kind": kind}, "note": note}
    _print(connect().call("POST", "/schedules", json=body))


@app.command()
def pause(schedule_id: _Id, note: str = "") -> None:
    """Pause a schedule: it starts nothing more, and the note says why."""
    _print(connect().call("POST", f"/schedules/{schedule_id}/pause", json={"note": note}))


@app.command()
def resume(schedule_id: _Id) -> None:
    """Resume a schedule from now on."""
    _print(connect().call("POST", f"/schedules/{schedule_id}/resume"))


@app.command()
def trigger(schedule_id: _Id) -> None:
    """Start a run now."""
    _print(connect().call("POST", f"/schedules/{schedule_id}/trigger"))


@app.command()
def backfill(
    schedule_id: _Id,
    start: Annotated[str, typer.Option(help="From when, like 2026-11-01T00:00:00Z.")],
    end: Annotated[str, typer.Option(help="Until when.")],
) -> None:
    """Start what would have been started between two moments."""
    body = {"start_at": start, "end_at": end}
    _print(connect().call("POST", f"/schedules/{schedule_id}/backfill", json=body))


@app.command()
def delete(schedule_id: _Id) -> None:
    """Delete a schedule; its runs stay."""
    connect().call("DELETE", f"/schedules/{schedule_id}")
    _out.print(f"The schedule {schedule_id} is gone.")


def _print(item: dict[str, Any]) -> None:
    _, does, when, following, _, state = _cells(item)
    _out.print(f"{item['id']}: {does}, {when}; {state}; next {following or 'never'}.")


def _cells(item: dict[str, Any]) -> tuple[str, ...]:
    spec = item["spec"]
    when = spec["cron"] or f"every {spec['every_seconds']:g} s"
    following = item["next_runs"][0][:16].replace("T", " ") if item["next_runs"] else ""
    last = item["last_runs"][0] if item["last_runs"] else None
    went = "" if last is None else last["outcome"] or "running"
    state = f"paused: {item['note']}" if item["paused"] else "active"
    return item["id"], item["work"]["kind"], f"{when} {spec['time_zone']}", following, went, state
