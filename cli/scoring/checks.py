"""The operators' verbs for checks: drift of scores, and fairness between groups."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.client import connect

app = typer.Typer(help="Drift and fairness of scores.", no_args_is_help=True)
_out = Console(highlight=False)


@app.command()
def run(
    days: Annotated[float, typer.Option(min=0.01, max=366, help="How far to look back.")] = 7,
    attribute: Annotated[
        str | None, typer.Option(help="A field of the profile, to compare groups by.")
    ] = None,
) -> None:
    """Check the scores of the last days; exit code 1 if there is reason for an alert."""
    client = connect()
    body = {"days": days, "attribute": attribute}
    run_id = client.call("POST", "/ai/scoring/checks", json=body)["run_id"]
    with _out.status("Checking …"):
        last = [event["data"] for event in client.events(run_id)][-1]
    if last["error"]:
        _out.print(last["error"]["detail"], markup=False)
        raise typer.Exit(1)
    check = client.call("GET", f"/ai/scoring/checks/{run_id}")
    _show(check)
    if check["alerts"]:
        raise typer.Exit(1)


@app.command("list")
def list_checks() -> None:
    """List the latest checks."""
    table = Table("check", "time", "days", "alerts", box=None)
    for item in connect().call("GET", "/ai/scoring/checks")["items"]:
        time = item["created_at"][:16].replace("T", " ")
        table.add_row(item["run_id"], time, f"{item['request']['days']:g}", str(item["alerts"]))
    _out.print(table)


@app.command("show")
def show_check(run_id: str) -> None:
    """Show the report of one check."""
    _show(connect().call("GET", f"/ai/scoring/checks/{run_id}"))


def _show(check: dict[str, Any]) -> None:
    drift = Table("model", "leads", "compared with", "score moved", "inputs moved most", box=None)
    for item in check["drift"]:
        top = sorted(item["features"].items(), key=lambda pair: -pair[1])[:3]
        moved = ", ".join(f"{name} {value:.2f}" for name, value in top)
        score = "" if item["score"] is None else f"{item['score']:.2f}"
        compared = item["compared_with"] or "too few leads"
        drift.add_row(item["model_version"], f"{item['leads']:,}", compared, score, moved)
    _out.print(drift)
    if check["fairness"]:
        _out.print(_groups(check["fairness"]))
    _out.print(f"Alerts: {check['alerts']}." if check["alerts"] else "Nothing to worry about.")


def _groups(fairness: dict[str, Any]) -> Table:
    groups = Table(fairness["attribute"], "leads", "mean", "selected", "of the best", box=None)
    for group in fairness["groups"]:
        shares = (f"{group['rate']:.0%}", f"{group['ratio']:.0%}")
        leads, mean = f"{group['leads']:,}", f"{group['mean_score']:.1f}"
        groups.add_row(group["value"], leads, mean, *shares)
    return groups
