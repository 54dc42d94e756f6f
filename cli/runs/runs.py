"""The operators' verbs for runs and conversations; they talk to the API."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.client import Client, connect
from cli.runs.screen import show
from domain.tools.decisions import Verdict

app = typer.Typer(help="Look at runs, stop them, decide for them.", no_args_is_help=True)
_out = Console()
RunId = Annotated[str, typer.Argument(help="The run's id.")]


@app.command("list")
def list_runs(
    status: Annotated[str | None, typer.Option(help="queued, running, waiting, finished")] = None,
    outcome: Annotated[str | None, typer.Option(help="For example: failed")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
) -> None:
    """List the latest runs."""
    query = {"status": status, "outcome": outcome, "limit": limit}
    runs = connect().call("GET", "/runs", params={k: v for k, v in query.items() if v})
    table = Table("user", "status", "outcome", "steps", "tokens", "cost", "run", box=None)
    for run in runs["items"]:
        table.add_row(*_row(run))
    # A run's id must be whole to be copied: the terminal may wrap it, we do not cut it.
    Console(width=max(_out.width, 160)).print(table)


@app.command("show")
def show_run(run_id: RunId) -> None:
    """Show one run, and the questions that it put to people."""
    _out.print_json(data=connect().call("GET", f"/runs/{run_id}"))


@app.command()
def watch(run_id: RunId) -> None:
    """Follow a run until it ends."""
    show(_out, connect().events(run_id))


@app.command()
def cancel(run_id: RunId) -> None:
    """Stop a run; what it has said so far stays."""
    connect().call("POST", f"/runs/{run_id}/cancel")
    _out.print("The run is being cancelled.")


@app.command()
def decide(run_id: RunId, decision_id: str, verdict: Verdict) -> None:
    """Answer the question that a run waits for, having looked at it with `show`."""
    decide_for(connect(), run_id, decision_id, verdict)
    _out.print(f"Recorded: {verdict}.")


def decide_for(client: Client, run_id: str, decision_id: str, verdict: Verdict) -> None:
    """Answer with the digest of the arguments that the run shows now."""
    decisions = client.call("GET", f"/runs/{run_id}")["decisions"]
    digest = next((d["digest"] for d in decisions if d["id"] == decision_id), "")
    body = {"verdict": verdict, "digest": digest}
    client.call("POST", f"/runs/{run_id}/decisions/{decision_id}", json=body)


def ask(
    text: Annotated[str, typer.Argument(help="What to say.")],
    thread: Annotated[str | None, typer.Option(help="Go on in this thread.")] = None,
) -> None:
    """Say something, and see the answer as it comes."""
    client = connect()
    thread_id = thread or str(client.call("POST", "/threads")["id"])
    last = show(_out, client.events(client.say(thread_id, text)))
    _out.print(f"  thread {thread_id}", style="dim", highlight=False)
    if last.get("data", {}).get("outcome") not in ("answered", "degraded"):
        raise typer.Exit(1)


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    usage = run["usage"]
    return (
        run["user_id"],
        run["status"],
        run["outcome"] or "",
        str(run["steps"]),
        f"{usage['input_tokens']} → {usage['output_tokens']}",
        f"${run['cost_micros'] / 1e6:.4f}",
        run["id"],
    )
