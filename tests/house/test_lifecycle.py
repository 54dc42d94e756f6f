"""One life for each run: one module's SQL sets its state, and the picture shows what it does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.names import Kind
from domain.runs.kinds import KINDS
from domain.runs.runs import TRANSITIONS
from testing.stack import ROOT
from tests.house.source import name, tracked

LIFECYCLE = "db/runs/lifecycle.py"
PICTURE = ROOT / "docs/architecture.md"
STATE = {
    *("status", "outcome", "error_code", "error_detail", "finished_at", "cancelling"),
    *("worker", "activity_id", "step", "attempt"),
}
# Whoever claims lost attempts takes their worker away, in a function that sees all tenants.
MAY_CLEAR = {"worker"}
_UPDATE = re.compile(
    r"\bUPDATE\s+(?:ONLY\s+)?runs\b(?:\s+(?:AS\s+)?(?!SET\b)\w+)?\s+SET\s+(.*?)"
    r"(?=\bWHERE\b|\bFROM\b(?!\s*\()|\bRETURNING\b|$)",
    re.IGNORECASE | re.DOTALL,
)
_ASSIGNED = re.compile(r"(?:^|,)\s*\(?\s*(\w+)\s*=", re.DOTALL)
_INSERT = re.compile(r"\b(?:INSERT\s+INTO|MERGE\s+INTO|COPY)\s+runs\b", re.IGNORECASE)
_KIND = re.compile(
    rf"\bkind\s*(?:=|<>|!=|IN|=\s*ANY)\s*\(?\s*'(?:{'|'.join(Kind)})'", re.IGNORECASE
)
_ARROW = re.compile(r"^\s*(\S+) --> (\S+): (\w+)\s*$", re.MULTILINE)


def texts(source: str) -> Iterator[str]:
    """Yield all strings of a module; what an f-string puts in is left out."""
    inner: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [part for part in node.values if isinstance(part, ast.Constant)]
            inner |= {id(part) for part in parts}
            yield "…".join(str(part.value) for part in parts)
        elif isinstance(node, ast.Constant) and id(node) not in inner:
            yield str(node.value)


def states_set(source: str) -> set[str]:
    """Return the columns of a run's state that a module's SQL sets; all of them by an insert."""
    found: set[str] = set()
    for text in texts(source):
        for assignments in _UPDATE.findall(text):
            found |= STATE & set(_ASSIGNED.findall(assignments))
        if _INSERT.search(text):
            found |= STATE
    return found


def sources() -> dict[str, str]:
    """Return every module but tests, which may make rows that the product would not."""
    modules = (path for path in tracked("*.py") if not name(path).startswith("tests/"))
    return {name(path): Path(path).read_text("utf-8") for path in modules}


def test_one_module_sets_the_state_of_a_run() -> None:
    writers = {path: found for path, text in sources().items() if (found := states_set(text))}

    migrations = {path for path in writers if path.startswith("db/migrations/")}
    assert writers[LIFECYCLE] == STATE
    assert all(writers[path] <= MAY_CLEAR for path in migrations)
    assert set(writers) - migrations == {LIFECYCLE}


@pytest.mark.parametrize(
    "planted",
    [
        "_DONE = \"UPDATE runs SET status = 'finished' WHERE id = %(run)s\"",
        '_DONE = "update runs r\\nset model = %(m)s, outcome = %(o)s FROM x WHERE r.id = x.id"',
        '_DONE = f"{WITH} UPDATE runs AS r SET last_seq = 1, {MORE}, finished_at = now()"',
        '_NEW = "INSERT INTO runs (tenant_id, id) VALUES (%(tenant)s, %(run)s)"',
        "def f(): return f\"UPDATE runs SET cancelling = {'true'}\"",
    ],
)
def test_a_second_one_is_noticed(planted: str) -> None:
    assert states_set(planted) != set()


@pytest.mark.parametrize(
    "harmless",
    [
        '_LOG = "UPDATE runs SET last_seq = last_seq + 1, active_at = now() WHERE step = %(step)s"',
        '_BILL = "UPDATE runs r SET cost_micros = r.cost_micros + c.n FROM c WHERE r.step = 1"',
        "_END = \"UPDATE tool_calls SET status = 'ok', finished_at = now()\"",
        '_DROP = "DELETE FROM runs WHERE id = %(run)s"',
    ],
)
def test_what_counts_along_a_run_is_no_second_one(harmless: str) -> None:
    assert states_set(harmless) == set()


def test_statements_are_given_kinds_and_name_none() -> None:
    named = [
        path
        for path, source in sources().items()
        if not path.startswith("db/migrations/")
        for text in texts(source)
        if _KIND.search(text)
    ]

    assert named == []
    assert _KIND.search("SELECT id FROM runs WHERE kind = 'turn'")


def test_every_kind_of_work_has_its_row() -> None:
    assert set(KINDS) == set(Kind) - {Kind.FEED}
    assert len({kind.workflow for kind in KINDS.values()}) == len(KINDS)


def test_the_picture_shows_all_that_can_happen_to_a_run() -> None:
    drawn = {(start, end, verb) for start, end, verb in _ARROW.findall(PICTURE.read_text("utf-8"))}

    assert drawn == {
        (start or "[*]", end, verb) for verb, pairs in TRANSITIONS.items() for start, end in pairs
    }
