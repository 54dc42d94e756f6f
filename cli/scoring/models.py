"""The operators' verbs for scoring models: the registry, approvals, comparisons."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.client import connect
from cli.runs.follow import follow
from cli.scoring import trainings
from cli.scoring.reports import show_comparison

app = typer.Typer(help="Scoring models: add, train, approve, compare.", no_args_is_help=True)
_out = Console(highlight=False)
_Model = Annotated[str, typer.Argument(help="name.version")]
_FIGURES = ("auc", "calibration_error")


@app.command("list")
def list_models() -> None:
    """List every version, the latest first."""
    table = Table("model", "kind", "status", "AUC", "calibration error", "by", box=None)
    for model in connect().call("GET", "/ai/scoring/models"):
        metrics = model["metrics"] or {}
        figures = (f"{metrics[name]:.3f}" if metrics else "" for name in _FIGURES)
        table.add_row(model["id"], model["kind"], model["status"], *figures, model["created_by"])
    _out.print(table)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Rules, as TOML.")],
    name: Annotated[str, typer.Option(help="What to call them.")],
) -> None:
    """Add a rule file as a candidate."""
    body = {"name": name, "rules": file.read_text(encoding="utf-8")}
    model = connect().call("POST", "/ai/scoring/models", json=body)
    _out.print(f"{model['id']} is a candidate. Somebody else must approve it.")


app.command()(trainings.train)


@app.command()
def approve(model: _Model) -> None:
    """Approve a candidate that somebody else has added."""
    _change(model, "approve", "approved")


@app.command()
def promote(model: _Model) -> None:
    """Score with an approved version from now on."""
    _change(model, "promote", "the champion")


@app.command()
def retire(model: _Model) -> None:
    """Retire a version: it scores no more."""
    _change(model, "retire", "retired")


@app.command()
def compare(models: list[str]) -> None:
    """Compare models side by side: each scores all leads, and no score is visible."""
    client = connect()
    accepted = client.call("POST", "/ai/scoring/models/test", json={"models": models})
    follow(client, accepted["run_id"], _out)
    show_comparison(_out, client.call("GET", f"/ai/scoring/batches/{accepted['run_id']}/results"))


def _change(model: str, verb: str, status: str) -> None:
    connect().call("POST", f"/ai/scoring/models/{model}/{verb}")
    _out.print(f"{model} is {status}.")
