"""The rings of the suite, each run with one line of result: `python -m testing.rings LANE`.

What a ring prints goes to `build/rings/`; what failed in it is shown.
"""

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BIN = Path(sys.executable).parent
_FOLDER = ROOT / "build" / "rings"
_NIGHT = ROOT / "build" / "night.json"
_LINTS = {
    "format": ("ruff", "format", "--check", "."),
    "rules": ("ruff", "check", "."),
    "types": ("mypy",),
    "imports": ("lint-imports",),
}
_COUNTS = re.compile(r"(\d+) (passed|failed|errors?)\b")
_NO_TESTS = 5
_SHOWN_LINES = 200


@dataclass(frozen=True)
class Ring:
    """Tests that need the same things: where they are, and how they are shared out.

    `expression` says which of them are left out, as pytest's `-m` does.
    """

    name: str
    folders: tuple[str, ...]
    options: tuple[str, ...]
    expression: str = ""

    def only(self, expression: str) -> "Ring":
        """The same ring with fewer tests."""
        return Ring(self.name, self.folders, self.options, expression)

    def paths(self, noun: str) -> list[str]:
        """The folders that there are, of one noun or of all."""
        wanted = [
            f"tests/{folder}/{noun}" if noun else f"tests/{folder}" for folder in self.folders
        ]
        return [path for path in wanted if (ROOT / path).is_dir()]


@dataclass(frozen=True)
class Result:
    """How a ring went."""

    name: str
    passed: int
    failed: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.name:8}{self.passed:>8} passed{self.failed:>8} failed{self.seconds:>9.1f} s"


UNIT = Ring("unit", ("unit", "workflows", "house"), ("-n", "2", "--dist", "loadfile"))
API = Ring("api", ("fundamentals", "api"), ("-n", "3", "--dist", "loadfile"))
# They wait more than they compute, and each process has a stack of its own.
CRASH = Ring("crash", ("crash",), ("-n", "3", "--dist", "worksteal"))
SIX = Ring("crash", ("crash",), ("-n", "2", "--dist", "worksteal"), "gate")
LANES: dict[str, tuple[Ring, ...]] = {
    "lint": (),
    "unit": (UNIT,),
    "api": (API,),
    "crash": (CRASH,),
    "test": (UNIT.only("not fit"), API, SIX),
    "check": (UNIT, API, CRASH),
}


def lint() -> Result:
    """Format, rules, types and imports, side by side."""
    begun = time.monotonic()
    running = {
        name: subprocess.Popen(
            [_BIN / command[0], *command[1:]],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, command in _LINTS.items()
    }
    said = {name: process.communicate()[0] for name, process in running.items()}
    broken = [name for name, process in running.items() if process.returncode]
    for name in broken:
        print(f"{name}:\n{said[name]}")
    return Result("lint", len(said) - len(broken), len(broken), time.monotonic() - begun)


def run(ring: Ring, noun: str = "", options: Sequence[str] = ()) -> Result:
    """The tests of a ring, in a pytest of their own."""
    begun = time.monotonic()
    paths = ring.paths(noun)
    log = _FOLDER / f"{ring.name}.txt"
    chosen = ["-m", ring.expression] if ring.expression else []
    command = [sys.executable, "-m", "pytest", *ring.options, *chosen, *options, *paths]
    if not paths:
        return Result(ring.name, 0, 0, 0)
    with log.open("w") as output:
        code = subprocess.run(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    lines = log.read_text(errors="replace").splitlines()
    counts = {word: int(number) for number, word in _COUNTS.findall(lines[-1] if lines else "")}
    failed = sum(number for word, number in counts.items() if word != "passed")
    if code not in (0, _NO_TESTS):
        failed = failed or 1
        print("\n".join([*_failures(lines), f"All of it is in {log.relative_to(ROOT)}."]))
    return Result(ring.name, counts.get("passed", 0), failed, time.monotonic() - begun)


def _failures(lines: list[str]) -> list[str]:
    starts = [n for n, line in enumerate(lines) if re.match(r"=+ (FAILURES|ERRORS) =+", line)]
    return lines[starts[0] if starts else 0 :][-_SHOWN_LINES:]


def steps(lane: str, noun: str) -> Iterator[Callable[[], Result]]:
    """What a lane consists of, in order."""
    if lane in ("lint", "test", "check"):
        yield lint
    yield from (partial(run, ring, noun) for ring in LANES[lane])


def close(results: Sequence[Result]) -> int:
    """Print the table that ends a lane; returns the exit code."""
    total = Result("all", *(sum(getattr(r, name) for r in results) for name in _SUMS))
    if len(results) > 1:
        print("\n".join(["", *map(str, results), str(total)]))
    print(f"{total.passed} passed, {total.failed} failed", flush=True)
    return 1 if total.failed else 0


_SUMS = ("passed", "failed", "seconds")


def night(rounds: int) -> int:
    """The crash ring again and again, each time in another order; the result is kept in a file."""
    results: list[Result] = []
    kept = []
    for _ in range(rounds):
        seed = secrets.randbelow(1_000_000)
        results.append(run(CRASH, options=["--seed", str(seed)]))
        kept.append(asdict(results[-1]) | {"seed": seed, "load": os.getloadavg()[0]})
        _NIGHT.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{results[-1]}   seed {seed}", flush=True)
    return close(results)


def main() -> None:
    """Run a lane; the exit code is 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lane", choices=[*LANES, "night"])
    parser.add_argument("--noun", default="", help="only the tests of this noun")
    parser.add_argument("--rounds", type=int, default=10, help="of the night")
    chosen = parser.parse_args()
    _FOLDER.mkdir(parents=True, exist_ok=True)
    if chosen.lane == "night":
        sys.exit(night(chosen.rounds))
    results = []
    for step in steps(chosen.lane, chosen.noun):
        results.append(step())
        print(results[-1], flush=True)
    sys.exit(close(results))


if __name__ == "__main__":
    main()
