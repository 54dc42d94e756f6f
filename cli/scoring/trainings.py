"""The operators' verbs for trainings: models learned from outcomes."""

from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from cli.client import Client, connect

_out = Console(highlight=False)


def train(
    name: str,
    algorithm: Annotated[Literal["logistic", "boosted"], typer.Option()] = "logistic",
    exclude: Annotated[list[str] | None, typer.Option(help="An input; may be repeated.")] = None,
) -> None:
    """Learn a model from the leads whose outcome is known."""
    body = {"name": name, "algorithm": algorithm, "exclude": exclude or []}
    client = connect()
    run_id = client.call("POST", "/ai/scoring/trainings", json=body)["run_id"]
    if follow_training(client, run_id, _out) is None:
        raise typer.Exit(1)


def follow_training(client: Client, run_id: str, out: Console) -> str | None:
    """Follow a training to its end; return the model's id, or None if there is none."""
    last: dict[str, Any] = {}
    with out.status("Learning …") as status:
        for event in client.events(run_id):
            last = event["data"]
            if event["type"] == "training.progressed":
                status.update(f"Learning from {last['leads']:,} leads: {last['stage']} …")
    if last["outcome"] != "completed":
        out.print(last["error"]["detail"] if last["error"] else last["outcome"], markup=False)
        return None
    model, metrics = str(last["result"]["model_id"]), last["result"]["metrics"]
    out.print(
        f"{model} is a candidate: AUC {metrics['auc']:.3f}, calibration error "
        f"{metrics['calibration_error']:.3f}, from {metrics['leads']:,} leads."
    )
    return model
