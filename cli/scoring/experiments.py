"""The operators' verbs for experiments: models side by side on the same stream of leads."""

import re
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.client import connect
from cli.scoring.reports import show_comparison
from domain.errors import Invalid

app = typer.Typer(help="A/B tests of scoring models.", no_args_is_help=True)
_out = Console(highlight=False)
_Id = Annotated[str, typer.Argument(help="The experiment's id.")]


@app.command("list")
def list_experiments() -> None:
    """List every experiment, the latest first."""
    table = Table("experiment", "status", "arms", "by", "since", box=None)
    for item in connect().call("GET", "/ai/scoring/experiments"):
        arms = ", ".join(map(_arm_text, item["arms"]))
        since = item["created_at"][:16].replace("T", " ")
        table.add_row(item["id"], item["status"], arms, item["created_by"], since)
    _out.print(table)


@app.command()
def begin(
    experiment_id: _Id,
    arm: Annotated[list[str], typer.Option(help="name=model or name=model:weight; repeat it.")],
    shadow: Annotated[
        list[str] | None, typer.Option(help="name=model: scores invisibly; may be repeated.")
    ] = None,
) -> None:
    """Split the leads between models from now on; a lead keeps its arm."""
    arms = [_arm(text) for text in arm]
    arms += [_arm(text, shadow=True) for text in shadow or []]
    connect().call("POST", "/ai/scoring/experiments", json={"id": experiment_id, "arms": arms})
    _out.print(f"{experiment_id} is running. `perdure experiments results {experiment_id}`")


@app.command()
def results(experiment_id: _Id) -> None:
    """Show the results of each arm, and how far they may be chance."""
    report = connect().call("GET", f"/ai/scoring/experiments/{experiment_id}/results")
    show_comparison(_out, report)
    for pair in report["differences"]:
        interval, (one, other) = pair["difference"], pair["arms"]
        chance = " (may be chance)" if interval["low"] <= 0 <= interval["high"] else ""
        _out.print(
            f"  {one} less {other}: {100 * interval['value']:+.1f} points won, 95 % between "
            f"{100 * interval['low']:+.1f} and {100 * interval['high']:+.1f}{chance}."
        )


@app.command()
def stop(experiment_id: _Id) -> None:
    """Let the champion score all leads again; the results stay."""
    connect().call("POST", f"/ai/scoring/experiments/{experiment_id}/stop")
    _out.print(f"{experiment_id} is stopped.")


def _arm(text: str, *, shadow: bool = False) -> dict[str, Any]:
    match = re.fullmatch(r"([^=]+)=([^:]+)(?::(\d+\.?\d*))?", text)
    if match is None:
        raise Invalid("An arm is name=model or name=model:weight.")
    return {"name": match[1], "model": match[2], "weight": float(match[3] or 1), "shadow": shadow}


def _arm_text(arm: dict[str, Any]) -> str:
    return f"{arm['name']}={arm['model']}" + (" (shadow)" if arm["shadow"] else "")
