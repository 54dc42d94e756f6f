"""`python -m benchmarks`: measure everything, or one subject with `--only NAME`."""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from benchmarks.report import RESULTS, Row, show, write
from benchmarks.subjects import (
    caching,
    contacts,
    events,
    first_token,
    gateway,
    history,
    leads,
    open_turns,
    recovery,
    turns,
)
from testing.stack import LocalStack, Stack

_COMMON = {"PERDURE_MAX_STEPS": "200", "PERDURE_MODEL_WINDOW": "400000"}


@dataclass(frozen=True)
class Measurement:
    """A measurement on one kind of stack; neighbours that are content with the same share it."""

    name: str
    run: Callable[[Stack, bool], list[Row]]
    stack: str = "shared"
    workers: int = 1
    environ: dict[str, str] = field(default_factory=dict)


MEASUREMENTS = (
    Measurement("turns", turns.run),
    Measurement("first_token", first_token.run),
    Measurement("events", events.run),
    Measurement("history", history.run),
    Measurement("gateway", gateway.run),
    Measurement("caching", caching.run),
    Measurement("contacts", contacts.run),
    Measurement("leads", leads.run),
    Measurement("open_turns", open_turns.run, "fresh"),
    Measurement("recovery", recovery.run, "two workers", workers=2, environ=recovery.ENVIRON),
)


def main() -> None:
    """Measure, show the table, and write `results.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [subject.name for subject in MEASUREMENTS]
    parser.add_argument("--only", choices=names, action="append", help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    chosen = parser.parse_args()
    console = Console(width=130 if not os.isatty(1) else None)
    selected = [s for s in MEASUREMENTS if not chosen.only or s.name in chosen.only]
    rows, loads, seconds = measure(selected, chosen.quick, console)
    show(rows, console)
    write(rows, loads, seconds, quick=chosen.quick)
    console.print(f"Written to {RESULTS.name}; load before each subject: {loads}")


def measure(
    measurements: Sequence[Measurement], quick: bool, console: Console
) -> tuple[list[Row], dict[str, list[float]], dict[str, float]]:
    """Return all rows, with the load average before each subject and the seconds that it took."""
    rows: list[Row] = []
    loads: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stacks:
        stack, kind = None, ""
        for subject in measurements:
            loads[subject.name] = [round(load, 2) for load in os.getloadavg()]
            begun = time.monotonic()
            if stack is None or subject.stack != kind:
                stacks.close()
                kind, home = subject.stack, Path(folder) / subject.name
                environ = _COMMON | subject.environ
                stack = stacks.enter_context(LocalStack(home, subject.workers, environ))
            with console.status(f"Measuring {subject.name} …"):
                rows += subject.run(stack, quick)
            seconds[subject.name] = round(time.monotonic() - begun, 1)
            console.print(f"{subject.name}: {seconds[subject.name]} s")
    return rows, loads, seconds


if __name__ == "__main__":
    main()
