"""The operators' verbs for models: routes and deployments, usage, budgets, alerts."""

from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from cli.client import connect

app = typer.Typer(help="Routes, deployments and their health.", no_args_is_help=True)
budgets = typer.Typer(help="What may be spent on models.", no_args_is_help=True)
_out = Console()
BudgetId = Annotated[str, typer.Argument(help="The budget's id, of your choice.")]
Dollars = Annotated[float | None, typer.Option(min=0, help="In dollars.")]


@app.command("list")
def list_models() -> None:
    """List every route, and every deployment with its health."""
    client = connect()
    routes = Table("route", "policy", "deployments", "cache", "set by", box=None)
    for item in client.call("GET", "/models/routes"):
        route = item["route"]
        names = ", ".join(route["deployments"])
        routes.add_row(item["name"], route["policy"], names, route["cache"]["mode"], item["source"])
    deployments = Table("deployment", "model", "state", "failed", "first token", box=None)
    for item in client.call("GET", "/models/deployments"):
        deployments.add_row(item["name"], item["model"], *_health(item["health"]))
    _out.print(routes, "", deployments)


@budgets.command("list")
def list_budgets() -> None:
    """List every budget, and what was spent of it in this period."""
    table = Table("budget", "for", "per", "soft", "hard", "spent", box=None)
    for item in connect().call("GET", "/budgets"):
        spent = max((s["spent_micros"] for s in item["spending"]), default=0)
        subject = (
            item["scope"] if item["scope"] == "tenant" else f"{item['scope']} {item['subject']}"
        )
        limits = (_dollars(item["soft_micros"]), _dollars(item["hard_micros"]))
        table.add_row(item["id"], subject, item["period"], *limits, _dollars(spent))
    _out.print(table)


@budgets.command("set")
def set_budget(
    budget_id: BudgetId,
    scope: Annotated[Literal["tenant", "user", "feature", "run"], typer.Option()] = "tenant",
    subject: Annotated[str, typer.Option(help="Whose; *: each their own.")] = "*",
    period: Annotated[Literal["day", "month"], typer.Option()] = "month",
    soft: Dollars = None,
    hard: Dollars = None,
    downgrade_to: Annotated[str | None, typer.Option(help="A cheaper route, from soft on.")] = None,
) -> None:
    """Create a budget, or replace it."""
    body = {
        "scope": scope,
        "subject": subject,
        "period": period,
        "soft_micros": _micros(soft),
        "hard_micros": _micros(hard),
        "downgrade_to": downgrade_to,
    }
    connect().call("PUT", f"/budgets/{budget_id}", json=body)
    _out.print(f"The budget {budget_id} holds from now on.")


@budgets.command("delete")
def delete_budget(budget_id: BudgetId) -> None:
    """Remove a budget."""
    connect().call("DELETE", f"/budgets/{budget_id}")
    _out.print(f"The budget {budget_id} is gone.")


def usage(
    by: Annotated[
        str, typer.Option(help="day, feature, model, user, run; commas between.")
    ] = "day",
) -> None:
    """Sum up tokens and costs of model calls in the last 30 days."""
    groups = [name.strip() for name in by.split(",")]
    report = connect().call("GET", "/usage", params={"group_by": by})
    table = Table(*groups, "calls", "cached", "failed", "tokens", "cost", box=None)
    for row in report["items"]:
        table.add_row(*(str(row[group]) for group in groups), *_sums(row))
    table.add_row("in all", *[""] * (len(groups) - 1), *_sums(report["total"]), style="bold")
    _out.print(table)


def alerts() -> None:
    """List the news for administrators, the latest first."""
    table = Table("last", "times", "what", "about", "details", box=None)
    for item in connect().call("GET", "/alerts")["items"]:
        details = ", ".join(f"{name} {value}" for name, value in item["data"].items())
        time = item["last_at"][:19].replace("T", " ")
        table.add_row(time, str(item["count"]), item["kind"], item["subject"], details)
    _out.print(table)


def _health(health: dict[str, Any]) -> tuple[str, str, str]:
    state = health["state"]
    if health["retry_in_seconds"]:
        state += f", again in {health['retry_in_seconds']:.0f} s"
    first = health["first_token_ms"]
    failed = f"{health['failures']} of {health['calls']}"
    return state, failed, "" if first is None else f"{first:.0f} ms"


def _sums(row: dict[str, Any]) -> tuple[str, ...]:
    tokens = f"{row['usage']['input_tokens']:,} → {row['usage']['output_tokens']:,}"
    counts = (str(row[name]) for name in ("calls", "cached_calls", "failed_calls"))
    return (*counts, tokens, _dollars(row["cost_micros"]))


def _dollars(micros: int | None) -> str:
    return "" if micros is None else f"${micros / 1e6:,.4f}"


def _micros(dollars: float | None) -> int | None:
    return None if dollars is None else round(dollars * 1e6)
