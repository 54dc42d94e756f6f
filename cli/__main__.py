"""The `perdure` command. Heavy imports stay inside the commands, so that help is quick."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.gateway import models
from cli.identity import keys
from cli.leads import leads
from cli.runs import runs
from cli.schedules import schedules
from cli.scoring import checks, experiments
from cli.scoring import models as scoring_models
from domain.errors import PerdureError

if TYPE_CHECKING:
    from domain.settings import Settings

app = typer.Typer(
    name="perdure",
    help="AI work that survives: durable chat turns and lead scores on Temporal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Port = Annotated[int, typer.Option(min=0, max=65535)]
DataDir = Annotated[
    Path | None, typer.Option(help="Where the state lives (PERDURE_DATA_DIR, or ~/.perdure).")
]


@app.command()
def up(
    data_dir: DataDir = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The API's; 0: any.")] = 8000,
    temporal_port: Port = 7233,
    ui_port: Port = 8233,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Worker processes.")] = 1,
) -> None:
    """Start everything on this machine, and keep it running until Ctrl-C."""
    from cli.stack.home import Home
    from cli.stack.processes import StackPlan
    from cli.up import up as run

    settings = _settings()
    home = Home((data_dir or settings.home).expanduser().resolve())
    run(StackPlan(home, settings, os.environ, port, temporal_port, ui_port, workers))


@app.command()
def api(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
) -> None:
    """Serve the HTTP API."""
    from api.__main__ import serve

    serve(_joined_settings(), host, port)


@app.command()
def worker(
    role: Annotated[
        list[str] | None, typer.Option(help="What to work on; may be repeated (default: all).")
    ] = None,
) -> None:
    """Run a worker process."""
    from workers.__main__ import serve
    from workers.fleet import FLEET

    serve(_joined_settings(), role or list(FLEET))


@app.command()
def migrate() -> None:
    """Bring the database to this version; asks for the database owner's URL."""
    from db.migrate import migrate as run

    run(_joined_settings())


@app.command(hidden=True)
def prepare() -> None:
    """Migrate the database, and make sure of a first tenant and its key (part of `up`)."""
    from cli.stack.prepare import prepare as run

    run(_settings())


@app.command()
def mcp() -> None:
    """Serve the task tools over MCP on stdin and stdout."""
    import asyncio

    from cli.tools.mcp import serve

    asyncio.run(serve(_joined_settings()))


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Explain what is wrong with this installation; exit code 1 if anything is."""
    from cli.doctor.examination import examine

    settings = _settings()
    home = (data_dir or settings.home).expanduser().resolve()
    raise typer.Exit(examine(settings, home, os.environ))


@app.command("settings")
def show_settings() -> None:
    """Print each setting with its value, and where the value comes from."""
    from cli.settings import show

    show(_settings(), os.environ)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option(help="Keep the stack running, to look around.")] = False,
) -> None:
    """See a conversation survive the death of its worker, in under a minute."""
    from cli.demos.chat import demo as play

    play(keep=keep)


@app.command("demo-leads")
def demo_leads(
    keep: Annotated[bool, typer.Option(help="Keep the stack running, to look around.")] = False,
) -> None:
    """See leads imported, scored, compared and scheduled, in about a minute."""
    from cli.demos.leads import demo as play

    play(keep=keep)


app.command()(runs.ask)
app.command()(models.usage)
app.command()(models.alerts)
app.add_typer(runs.app, name="runs")
app.add_typer(models.app, name="models")
app.add_typer(leads.app, name="leads")
app.add_typer(scoring_models.app, name="scoring")
app.add_typer(experiments.app, name="experiments")
app.add_typer(checks.app, name="checks")
app.add_typer(schedules.app, name="schedules")
app.add_typer(models.budgets, name="budgets")
app.add_typer(keys.tenants, name="tenants")
app.add_typer(keys.keys, name="keys")


def main() -> None:
    """Run the command; an error is one line on standard error and exit code 1."""
    try:
        app()
    except PerdureError as error:
        print(f"perdure: {error.detail}", file=sys.stderr)
        sys.exit(1)


def _settings() -> "Settings":
    from domain.settings import Settings

    return Settings.from_env(os.environ)


def _joined_settings() -> "Settings":
    from cli.stack.local import joined

    return joined(_settings())


if __name__ == "__main__":
    main()
