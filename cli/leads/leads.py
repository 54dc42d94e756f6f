"""The operators' verbs for leads: files of them, their scores, and batches."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cli.client import Client, connect
from cli.runs.follow import follow
from domain.errors import Invalid
from domain.leads.errors import FileInvalid
from domain.leads.files import FileKind, LeadFile
from domain.leads.leads import LeadLine, RejectedLine

app = typer.Typer(help="Leads: import, list, score.", no_args_is_help=True)
_out = Console(highlight=False)
_PIECE = 256 * 1024
_KINDS: dict[str, FileKind] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_TYPES = {".csv": "text/csv", ".jsonl": "application/x-ndjson", ".ndjson": "application/x-ndjson"}


@app.command("import")
def load(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Import a CSV or JSON Lines file. Bad lines go into FILE.rejects, the rest is loaded; the
    same file again changes nothing."""
    report = load_file(connect(), file, _out)
    if report["rejected"] or report["stopped"]:
        raise typer.Exit(1)


def load_file(client: Client, file: Path, out: Console) -> dict[str, Any]:
    """Import a file with a progress bar, print the counts, and return the report. Raises
    FileInvalid."""
    kind = _TYPES.get(file.suffix.lower())
    if kind is None:
        raise FileInvalid("The file's name must end with .csv, .jsonl or .ndjson.")
    rejects = _Rejects(file)
    bar = (TextColumn("Importing"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*bar, console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task("", total=file.stat().st_size)
        pieces = _pieces(file, rejects, lambda size: progress.advance(task, size))
        report: dict[str, Any] = client.upload("/ai/leads/import", pieces, kind)
    out.print(
        f"{report['loaded']:,} leads loaded, {report['unchanged']:,} unchanged, "
        f"{report['rejected']:,} lines rejected."
    )
    _print_rejects(report, rejects.finish(), out)
    return report


@app.command("list")
def list_leads(
    sort: Annotated[Literal["score", "created", "updated", "name"], typer.Option()] = "score",
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
) -> None:
    """List the best leads, the latest, or the first by name."""
    order = "asc" if sort == "name" else "desc"
    query: dict[str, Any] = {"sort": sort, "order": order, "limit": limit}
    table = Table("lead", "score", "name", "company", "source", "outcome", box=None)
    for lead in connect().call("GET", "/ai/leads", params=query)["items"]:
        profile, score = lead["profile"], lead["score"]
        cells = (str(profile.get(name, "")) for name in ("name", "company", "source"))
        points = "" if score is None else f"{score:.0f}"
        table.add_row(lead["id"], points, *cells, lead["outcome"] or "")
    _out.print(table)


@app.command()
def show(lead_id: str) -> None:
    """Show a lead's score, its reasons and its history."""
    current = connect().call("GET", f"/ai/scoring/leads/{lead_id}")
    explain(_out, current)
    for before in current["history"][1:]:
        time = before["calculated_at"][:19].replace("T", " ")
        _out.print(f"  {time}  {before['score']:5.1f}  {before['model_version']}", style="dim")


@app.command()
def score(lead_id: str, model: Annotated[str | None, typer.Option()] = None) -> None:
    """Score one lead now."""
    body = {"lead_id": lead_id, "model": model}
    wait = {"Prefer": "wait=60"}
    explain(_out, connect().call("POST", "/ai/scoring/leads", json=body, headers=wait))


@app.command()
def event(
    lead_id: str,
    type: Annotated[str, typer.Argument(help="What happened, like pricing_viewed.")],
    properties: Annotated[
        list[str] | None, typer.Option("--property", help="name=value; may be repeated.")
    ] = None,
) -> None:
    """Record something that a lead did; a new score follows."""
    pairs = (_pair(text) for text in properties or [])
    connect().call(
        "POST", f"/ai/leads/{lead_id}/events", json={"type": type, "properties": dict(pairs)}
    )
    _out.print(f"Recorded. `perdure leads show {lead_id}` has the new score in a moment.")


@app.command()
def outcome(
    lead_id: str,
    outcome: Annotated[Literal["won", "lost"], typer.Argument()],
    value: Annotated[float | None, typer.Option(help="What it was worth.")] = None,
) -> None:
    """Record how it ended with a lead: models learn from it."""
    body = {"outcome": outcome, "value": value}
    connect().call("POST", f"/ai/leads/{lead_id}/outcome", json=body)
    _out.print(f"{lead_id} is {outcome}.")


@app.command()
def batch(
    model: Annotated[str | None, typer.Option(help="Name.version; default: the champion.")] = None,
    experiment: Annotated[str | None, typer.Option()] = None,
    filter: Annotated[str | None, typer.Option(help="JSON, as in the API.")] = None,
    retry: Annotated[str | None, typer.Option(help="A batch whose failed leads to score.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what it would be.")] = False,
    detach: Annotated[bool, typer.Option(help="Do not wait for the end.")] = False,
) -> None:
    """Score many leads, with a progress bar. Ctrl-C leaves the batch running."""
    body = {"model": model, "experiment": experiment, "failed_of": retry, "dry_run": dry_run}
    if filter is not None:
        body["filter"] = _json(filter)
    client = connect()
    accepted = client.call("POST", "/ai/scoring/leads/batch", json=body)
    if dry_run:
        micros = accepted["cost_micros"]
        cost = "the cost" if micros is None else f"${micros / 1e6:,.4f}"
        _out.print(
            f"{accepted['leads']:,} leads by {', '.join(accepted['models'])}: about "
            f"{accepted['seconds']:,.0f} s; {cost}: {accepted['basis']}."
        )
        return
    _out.print(f"Batch {accepted['run_id']}")
    try:
        if not detach and follow(client, accepted["run_id"], _out)["outcome"] != "completed":
            raise typer.Exit(1)
    except KeyboardInterrupt:
        _out.print(f"It goes on: `perdure runs watch {accepted['run_id']}` follows it.")


@app.command()
def pause(run_id: str, note: str = "") -> None:
    """Pause a batch."""
    connect().call("POST", f"/ai/scoring/batches/{run_id}/pause", json={"note": note})
    _out.print(f"{run_id} is paused until `perdure leads resume {run_id}`.")


@app.command()
def resume(run_id: str) -> None:
    """Resume a batch."""
    connect().call("POST", f"/ai/scoring/batches/{run_id}/resume")
    _out.print(f"{run_id} goes on.")


@app.command()
def generate(
    count: Annotated[int, typer.Option(min=1, max=10_000_000)] = 1_000,
    seed: int = 1,
) -> None:
    """Write invented leads as CSV to the screen, to try things out: nobody real is in them."""
    from domain.scoring import generated

    writer = csv.writer(sys.stdout)
    writer.writerow(generated.COLUMNS)
    writer.writerows(map(generated.as_cells, generated.generate(count, seed)))


def explain(out: Console, scored: dict[str, Any]) -> None:
    """Print a score with its reasons."""
    confidence, model = scored["confidence"], scored["model_version"]
    out.print(
        f"[bold]{scored['lead_id']}[/]: [bold]{scored['score']:.1f}[/] of 100 "
        f"(confidence {confidence:.0%}, {model})"
    )
    for component in scored["components"]:
        out.print(
            f"  {component['contribution']:+7.2f}  {component['factor']}: "
            f"{component['explanation']}",
            markup=False,
        )


class _Rejects:
    """The lines of a file that will be rejected, all of them, and whole up to 256 KiB each: the
    file is read here as the API reads it, which reports the first thousand."""

    def __init__(self, file: Path) -> None:
        self._path = file.with_name(f"{file.name}.rejects")
        self._path.unlink(missing_ok=True)
        self._reading = LeadFile(_KINDS[file.suffix.lower()])

    def feed(self, piece: bytes) -> None:
        self._write(self._reading.feed(piece))

    def finish(self) -> Path | None:
        """Return the file of rejects; None if there is none."""
        self._write(self._reading.finish())
        if self._reading.stopped is not None:
            self._write(iter([self._reading.stopped]))
        return self._path if self._path.exists() else None

    def _write(self, lines: Iterator[LeadLine | RejectedLine]) -> None:
        rejects = [line for line in lines if isinstance(line, RejectedLine)]
        if rejects:
            with self._path.open("a", encoding="utf-8") as target:
                target.writelines(f"{reject.model_dump_json()}\n" for reject in rejects)


def _pieces(file: Path, rejects: _Rejects, sent: Callable[[int], object]) -> Iterator[bytes]:
    with file.open("rb") as source:
        while piece := source.read(_PIECE):
            rejects.feed(piece)
            yield piece
            sent(len(piece))


def _print_rejects(report: dict[str, Any], file: Path | None, out: Console) -> None:
    if stopped := report["stopped"]:
        out.print(f"[red]Stopped at line {stopped['line']:,}[/]: {stopped['reason']}.")
    for reject in report["rejects"][:5]:
        out.print(f"  line {reject['line']:,}: {reject['reason']}", markup=False)
    if file is not None:
        out.print(f"All of them, with line numbers and reasons, are in {file.name}.")


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise Invalid("--property is name=value.")
    return name, value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Invalid("--filter is not JSON.") from None
