"""`perdure demo-leads`: leads imported, scored, changed, compared and scheduled, on a stack of its
own."""

import csv
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
from rich.console import Console

from cli.client import Client
from cli.demos.chat import home, stack
from cli.errors import DemoFailed
from cli.leads.leads import explain, load_file
from cli.runs.follow import follow
from cli.scoring.reports import show_comparison
from cli.scoring.trainings import follow_training
from domain import names
from domain.scoring import generated

_LEADS = 5_000
_SEED = 7
_LEAD = "lead-0000042"
_WAIT_SECONDS = 60.0
_BROKEN = (["lead-x", "Company X", "Buyer", "software", "huge", "AT", "list", "3", ""], ["?"])
_NIGHTLY = {"cron": "0 2 * * *", "time_zone": "Europe/Vienna", "jitter_seconds": 300}


def demo(*, keep: bool) -> None:
    """Play the demo; raises DemoFailed if anything is not as it should be."""
    console = Console(highlight=False)
    console.print("[bold]Perdure[/]: lead scoring. Starting a stack of its own …\n")
    with home() as folder, stack(folder) as ready:
        _play(console, ready, folder)
        if keep:
            console.print("\nStill running; press Ctrl-C to stop and clean up.")
            signal.sigwait({signal.SIGINT, signal.SIGTERM})


def _play(console: Console, ready: dict[str, Any], folder: Path) -> None:
    client = Client(ready["api"], ready["api_key"])
    _say(console, f"A file of {_LEADS:,} invented leads, two lines of it broken")
    report = load_file(client, _file(folder), console)
    _check(report["loaded"] == _LEADS and report["rejected"] == 2, "the import")
    _say(console, "All of them scored by the built-in rules")
    first = _batch(console, client, {})
    _say(console, f"{_LEAD} looks at prices and asks for a demo")
    _change(console, client)
    _say(console, "A model learned from the outcomes, approved by a second person")
    run_id = client.call("POST", "/ai/scoring/trainings", json={"name": "fit"})["run_id"]
    model = follow_training(client, run_id, console)
    second = Client(ready["api"], _second_person(Path(ready["data_dir"])))
    second.call("POST", f"/ai/scoring/models/{model}/approve")
    _say(console, "An A/B test: half of the leads by each, then what each came to")
    arms = [{"name": "rules", "model": "starter.0"}, {"name": "learned", "model": model}]
    client.call("POST", "/ai/scoring/experiments", json={"id": "ab", "arms": arms})
    _batch(console, client, {"experiment": "ab"})
    tested = _test(client, console, model)
    _say(console, "Every night from now on, and once at once")
    nightly = _schedule(console, client)
    _where(console, ready, first, tested, nightly)


def _file(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / "leads.csv"
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(generated.COLUMNS)
        writer.writerows(map(generated.as_cells, generated.generate(_LEADS, _SEED)))
        writer.writerows(_BROKEN)
    return file


def _batch(console: Console, client: Client, body: dict[str, Any]) -> str:
    run_id = str(client.call("POST", "/ai/scoring/leads/batch", json=body)["run_id"])
    last = follow(client, run_id, console)
    _check(last["outcome"] == "completed", "the batch")
    return run_id


def _change(console: Console, client: Client) -> None:
    """Post events, and show the score that arrives on the tenant's stream, which begins with it."""
    begun = time.monotonic()
    events = [{"type": "pricing_viewed"}, {"type": "pricing_viewed"}, {"type": "demo_requested"}]
    client.call("POST", f"/ai/leads/{_LEAD}/events", json={"events": events})
    scored = next(client.stream("/ai/scoring/stream?after=0"))["data"]
    console.print(f"  {time.monotonic() - begun:.1f} s later, on the stream:")
    console.print(f"  it was {scored['before']:.0f}, and now")
    explain(console, scored)
    _check(scored["score"] > scored["before"], "the new score")


def _test(client: Client, console: Console, model: str | None) -> str:
    body = {"models": ["starter.0", model]}
    run_id = str(client.call("POST", "/ai/scoring/models/test", json=body)["run_id"])
    _check(follow(client, run_id, console)["outcome"] == "completed", "the test")
    show_comparison(console, client.call("GET", f"/ai/scoring/batches/{run_id}/results"))
    return run_id


def _schedule(console: Console, client: Client) -> str:
    body = {"id": "nightly", "spec": _NIGHTLY, "note": "all leads, after the backup"}
    schedule = client.call("POST", "/schedules", json=body)
    console.print(f"  next at {', '.join(time[:16] for time in schedule['next_runs'][:2])} (UTC)")
    client.call("POST", "/schedules/nightly/trigger")
    begun = time.monotonic()
    while time.monotonic() - begun < _WAIT_SECONDS:
        past = client.call("GET", "/schedules/nightly")["last_runs"]
        if past and past[0]["outcome"]:
            console.print(f"  triggered: {past[0]['run_id']}, {past[0]['outcome']}")
            return str(past[0]["run_id"])
        time.sleep(0.2)
    raise DemoFailed("The schedule's run did not end.")


def _where(console: Console, ready: dict[str, Any], *runs: str) -> None:
    page = f"{ready['temporal_ui']}/namespaces/default"
    console.print("\nIn Temporal's Web UI (`perdure demo-leads --keep` leaves it running):")
    labels = ("the first batch", "the comparison", "the schedule's run")
    for label, run in zip(labels, runs, strict=True):
        workflow = quote(names.workflow_id("default", run), safe="")
        console.print(f"  {label}: {page}/workflows/{workflow}", soft_wrap=True)
    schedule = quote(names.schedule_id("default", "nightly"), safe="")
    console.print(f"  the schedule: {page}/schedules/{schedule}", soft_wrap=True)


def _second_person(folder: Path) -> str:
    """Return a token for somebody else: nobody approves their own model."""
    claims = {"sub": "vera", "tenant": "default", "role": "admin", "exp": int(time.time()) + 600}
    secret = (folder / "secret").read_text(encoding="utf-8").strip()
    return jwt.encode(claims, secret, "HS256")


def _say(console: Console, text: str) -> None:
    console.print(f"\n[bold cyan]>[/] {text}")


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise DemoFailed(f"Something is wrong with {what}.")
