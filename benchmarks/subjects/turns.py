"""Turns: what the stack adds to each, and its capacity, beside a bare workflow."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from subprocess import Popen
from typing import Any

from benchmarks.driver import Driver
from benchmarks.processes import PARTS, Cpu, cpu, cpu_of, p50, p95
from benchmarks.report import Row
from testing.stack import Stack

_MODEL = {"first_delay": 0.1, "chunk_delay": 0.007, "chunks": 10}
_RATES = (5, 20)


class Bare:
    """The bare worker beside the stack, and a client of its own that starts its workflows."""

    def __init__(self, stack: Stack, worker: "Popen[str]", client: Driver) -> None:
        self.worker = worker
        self._client = client
        self._address = stack.ready["temporal"]

    def run(self, job: str, **arguments: Any) -> Any:
        return self._client.run(f"bare:{job}", temporal=self._address, **arguments)


@contextmanager
def bare(stack: Stack) -> Iterator[Bare]:
    """Run a bare worker on the stack's own Temporal server."""
    command = [sys.executable, "-m", "benchmarks.jobs.bare", stack.ready["temporal"]]
    worker = stack.spawn(command)
    assert worker.stdout
    worker.stdout.readline()
    try:
        with Driver() as client:
            yield Bare(stack, worker, client)
    finally:
        worker.kill()
        worker.wait()


def run(stack: Stack, quick: bool) -> list[Row]:
    """Measure open loops at 5 and 20 turns/s, then a closed one; ours and the bare one by turns."""
    with Driver() as load, bare(stack) as floor:
        us = {"api": stack.ready["api"], "token": stack.token("bench")}
        load.run("load:closed_loop", **us, concurrent=4, count=20)
        floor.run("closed_loop", concurrent=4, count=20)
        rows = _open(stack, load, floor, us, rounds=2 if quick else 3, seconds=4 if quick else 10)
        return rows + _saturated(stack, load, floor, us, rounds=1 if quick else 3)


def _open(
    stack: Stack, load: Driver, floor: Bare, us: dict[str, str], rounds: int, seconds: int
) -> list[Row]:
    stack.script(default=_MODEL)
    ours: dict[int, list[float]] = {rate: [] for rate in _RATES}
    theirs: dict[int, list[float]] = {rate: [] for rate in _RATES}
    spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    wrong = 0
    for number in range(rounds):
        model = p50(load.run("load:direct", provider=stack.provider_url, count=10, gap=0)["whole"])
        for rate in _RATES:
            timing = {"rate": rate, "seconds": seconds, "seed": 100 * rate + number}
            before = cpu(stack)
            seen = load.run("load:open_loop", **us, **timing)
            if rate == _RATES[-1]:
                _add(spent, before, stack)
            wrong += seen["unanswered"]
            ours[rate] += [1000 * (whole - model) for whole in seen["whole"]]
            theirs[rate] += [1000 * x for x in floor.run("open_loop", **timing)["whole"]]
    rows: list[Row] = []
    for rate in _RATES:
        mine, bare_ones, at = ours[rate], theirs[rate], f"turn's overhead, {rate}/s"
        rows.append(Row(f"{at}, p50", p50(mine), "ms", 35, p50(bare_ones), 1.4))
        rows.append(Row(f"{at}, p95", p95(mine), "ms", 90, p95(bare_ones)))
    rows += _cpu_rows(spent, len(ours[_RATES[-1]]), f"at {_RATES[-1]}/s (10 chunks)")
    return [*rows, Row("turns unanswered in the open loop", wrong, "", 0)]


def _saturated(
    stack: Stack, load: Driver, floor: Bare, us: dict[str, str], rounds: int
) -> list[Row]:
    stack.script(default={"chunks": 1})
    ours: list[float] = []
    theirs: list[float] = []
    spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    bare_cpu = {"temporal": 0.0, "worker": 0.0}
    count = 250
    for _ in range(rounds):
        before = cpu(stack)
        seen = load.run("load:closed_loop", **us, concurrent=50, count=count)
        _add(spent, before, stack)
        ours.append((count - seen["unanswered"]) / seen["seconds"])
        before, worker = cpu(stack), cpu_of(floor.worker.pid)
        theirs.append(count / floor.run("closed_loop", concurrent=50, count=count)["seconds"])
        bare_cpu["temporal"] += cpu(stack).since(before)["temporal"]
        bare_cpu["worker"] += cpu_of(floor.worker.pid) - worker
    row = Row(
        "turns/s at saturation, 50 at once",
        median(ours),
        "/s",
        floor=median(theirs),
        least_ratio=0.8,
    )
    return [row, *_cpu_rows(spent, rounds * count, "at saturation (1 chunk)", bare_cpu)]


def _add(spent: dict[str, float], before: Cpu, stack: Stack) -> None:
    for part, seconds in cpu(stack).since(before).items():
        spent[part] += seconds


def _cpu_rows(
    spent: dict[str, float], turns: int, when: str, floor: dict[str, float] | None = None
) -> list[Row]:
    each = {part: 1000 * seconds / turns for part, seconds in spent.items()}
    floors = {part: 1000 * seconds / turns for part, seconds in (floor or {}).items()}
    rows = [Row(f"CPU per turn {when}: {p}", each[p], "ms", floor=floors.get(p)) for p in PARTS]
    total = sum(floors.values()) if floors else None
    return [*rows, Row(f"CPU per turn {when}: all", sum(each.values()), "ms", floor=total)]
