"""`python -m benchmarks.compare COMMIT`: the CPU that a turn and 1,000 leads take, beside a commit.

Both stacks stand side by side and work by turns, in rounds of changing order. The ratio of a round
is ours over theirs; the mean of the logarithms has a confidence interval of 95 % (Student's t).
"""

import argparse
import math
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console

from benchmarks.driver import Driver
from benchmarks.processes import cpu
from benchmarks.subjects.leads import fill
from testing.stack import ROOT, LocalStack, Stack

_GOAL = 1.07
_TURNS, _AT_ONCE = 150, 8
_LEADS = 10_000
# Quantiles 0.975 of Student's t by degrees of freedom.
_T = {2: 4.303, 4: 2.776, 6: 2.447, 8: 2.306, 10: 2.228, 12: 2.179, 14: 2.145}


def main() -> None:
    """Measure, and print each round and the ratios; exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, choices=[n + 1 for n in _T], default=9)
    chosen = parser.parse_args()
    console = Console(width=110 if not os.isatty(1) else None)
    with _checkout(chosen.commit) as theirs, _stack(ROOT) as us, _stack(theirs) as them:
        bounds = [
            _compare(console, name, measure, (us, them), chosen.rounds)
            for name, measure in (("a turn", _turn), ("1,000 leads", _leads))
        ]
    raise SystemExit(int(max(bounds) > _GOAL))


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    """Check a commit out beside this one, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "theirs"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(path), commit], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


@contextmanager
def _stack(root: Path) -> Iterator[LocalStack]:
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(Path(folder) / "home", root=root) as stack,
    ):
        stack.script(default={"chunks": 10})
        yield stack


def _compare(
    console: Console,
    name: str,
    measure: Callable[[Stack], float],
    stacks: tuple[Stack, Stack],
    rounds: int,
) -> float:
    """Print the rounds of one measure; return the upper bound of the ratio."""
    for stack in stacks:
        measure(stack)
    logs = []
    for number in range(rounds):
        by_turns: Sequence[Stack] = stacks if number % 2 == 0 else stacks[::-1]
        spent = {id(stack): measure(stack) for stack in by_turns}
        ours, theirs = (1000 * spent[id(stack)] for stack in stacks)
        logs.append(math.log(ours / theirs))
        console.print(f"{name}: {ours:.1f} ms beside {theirs:.1f} ms, {ours / theirs:.3f}")
    middle, margin = mean(logs), _T[rounds - 1] * stdev(logs) / math.sqrt(rounds)
    low, ratio, high = (math.exp(x) for x in (middle - margin, middle, middle + margin))
    verdict = "met" if high <= _GOAL else "missed"
    console.print(f"{name}: {ratio:.3f} ({low:.3f} to {high:.3f}); goal {_GOAL}: {verdict}")
    return high


def _turn(stack: Stack) -> float:
    """Measure the CPU seconds of one turn, of all parts."""
    us = {"api": stack.ready["api"], "token": stack.token("bench")}
    with Driver() as load:
        before = cpu(stack)
        load.run("load:closed_loop", **us, concurrent=_AT_ONCE, count=_TURNS)
        return sum(cpu(stack).since(before).values()) / _TURNS


def _leads(stack: Stack) -> float:
    """Measure the CPU seconds of 1,000 leads that a batch scores by rules, of all parts."""
    api = stack.client("bench", "admin", fill(stack, _LEADS))
    before = cpu(stack)
    run_id = api.post("/api/v1/ai/scoring/leads/batch", json={}).json()["run_id"]
    assert api.finish(run_id)[-1].data["result"]["scored"] == _LEADS
    return sum(cpu(stack).since(before).values()) / (_LEADS / 1_000)


if __name__ == "__main__":
    main()
