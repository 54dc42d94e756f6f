"""The operators' verbs for scoring models: the registry, trainings, comparisons."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from cli.client import Client, connect
from cli.runs.follow import follow

app = typer.Typer(help="Scoring models: add, train, approve, compare.", no_args_is_help=True)
_out = Console(highlight=False)
_Model = Annotated[str, typer.Argument(help="name.version")]


@app.command("list")
def list_models() -> None:
    """Every version, the latest first."""
    table = Table("model", "kind", "status", "AUC", "calibration error", "by", box=None)
    for model in connect().call("GET", "/ai/scoring/models"):
        metrics = model["metrics"] or {}
        figures = (f"{metrics[name]:.3f}" if metrics else "" for name in _FIGURES)
        table.add_row(model["id"], model["kind"], model["status"], *figures, model["created_by"])
    _out.print(table)


_FIGURES = ("auc", "calibration_error")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Rules, as TOML.")],
    name: Annotated[str, typer.Option(help="What to call them.")],
) -> None:
    """Add a rule file as a candidate."""
    body = {"name": name, "rules": file.read_text(encoding="utf-8")}
    model = connect().call("POST", "/ai/scoring/models", json=body)
    _out.print(f"{model['id']} is a candidate. Somebody else must approve it.")


@app.command()
def train(
    name: str,
    algorithm: Annotated[Literal["logistic", "boosted"], typer.Option()] = "logistic",
    exclude: Annotated[list[str] | None, typer.Option(help="An input; may be repeated.")] = None,
) -> None:
    """Learn a model from the leads whose outcome is known."""
    body = {"name": name, "algorithm": algorithm, "exclude": exclude or []}
    client = connect()
    run_id = client.call("POST", "/ai/scoring/trainings", json=body)["run_id"]
    if learn(client, run_id, _out) is None:
        raise typer.Exit(1)


def learn(client: Client, run_id: str, out: Console) -> str | None:
    """Follow a training to its end; the model's id, or None if there is none."""
    last: dict[str, Any] = {}
    with out.status("Learning …") as status:
        for event in client.events(run_id):
            last = event["data"]
            if event["type"] == "training.progressed":
                status.update(f"Learning from {last['leads']:,} leads: {last['stage']} …")
    if last["outcome"] != "completed":
        out.print(last["error"]["detail"] if last["error"] else last["outcome"], markup=False)
        return None
    found, metrics = last["result"]["model_id"], last["result"]["metrics"]
    out.print(
        f"{found} is a candidate: AUC {metrics['auc']:.3f}, calibration error "
        f"{metrics['calibration_error']:.3f}, from {metrics['leads']:,} leads."
    )
    return str(found)


@app.command()
def approve(model: _Model) -> None:
    """Approve a candidate that somebody else has made."""
    _change(model, "approve", "approved")


@app.command()
def promote(model: _Model) -> None:
    """Score with an approved version from now on."""
    _change(model, "promote", "the champion")


@app.command()
def retire(model: _Model) -> None:
    """Score with a version no more."""
    _change(model, "retire", "retired")


@app.command()
def compare(models: list[str]) -> None:
    """Let models score all leads, unseen, and put what they came to side by side."""
    client = connect()
    accepted = client.call("POST", "/ai/scoring/models/test", json={"models": models})
    follow(client, accepted["run_id"], _out)
    show(_out, client.call("GET", f"/ai/scoring/batches/{accepted['run_id']}/results"))


def show(out: Console, report: dict[str, Any]) -> None:
    """Arms side by side."""
    columns = ("arm", "leads", "mean", "won of ended", "best tenth won", "worst", "AUC")
    table = Table(*columns, box=None)
    for arm in report["arms"]:
        best, worst = (_rate(arm["deciles"][place]["conversion"]) for place in (0, -1))
        leads, mean = f"{arm['leads']:,}", f"{arm['mean_score']:.1f}"
        area = "-" if arm["auc"] is None else f"{arm['auc']['value']:.2f}"
        table.add_row(arm["arm"], leads, mean, _rate(arm["conversion"]), best, worst, area)
    out.print(table)
    for pair in report["agreement"]:
        correlation = pair["correlation"]
        said = "" if correlation is None else f"correlation {correlation:.2f}, "
        out.print(
            f"  {pair['arms'][0]} and {pair['arms'][1]}: {said}{pair['within_five']:.0%} within "
            f"five points, {pair['best_tenth']:.0%} of the best tenth in common."
        )


def _rate(conversion: dict[str, Any]) -> str:
    if conversion["rate"] is None:
        return "-"
    low, high = conversion["low"], conversion["high"]
    return f"{conversion['rate']:.0%} ({low:.0%} to {high:.0%})"


def _change(model: str, verb: str, status: str) -> None:
    connect().call("POST", f"/ai/scoring/models/{model}/{verb}")
    _out.print(f"{model} is {status}.")
