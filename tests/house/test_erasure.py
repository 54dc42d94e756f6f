"""Erasure: each table that names a person or a lead has a forgetter, or a reason to have none."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel

from api.wiring import FORGETTERS
from testing.stack import ROOT

# A column of one of these names says whom or what a row is about.
COLUMNS = {"lead_id", "user_id", "subject", "subject_id"}
# Tables whose rows go with the lead: the module whose SQL names the table, or the foreign key.
FORGOTTEN = {
    "answer_cache": "db/gateway/erasure.py",
    "batch_failures": "db/scoring/erasure.py",
    "current_scores": "db/scoring/erasure.py",
    "lead_events": "leads",
    "run_events": "db/runs/erasure.py",
    "runs": "db/runs/erasure.py",
    "score_requests": "db/leads/erasure.py",
    "scores": "db/scoring/erasure.py",
}
KEPT = {
    "alerts": "the subject is a deployment, a budget, a model or a value of a field",
    "api_keys": "the user is a member of the tenant's staff, whose keys an operator revokes",
    "audit_entries": "who did what is evidence, and an erasure is itself an entry",
    "budget_spending": "sums of money by user, without a word of what was said",
    "budgets": "the subject is the scope that an administrator has named",
    "model_calls": "the bill of a call, without a word of what was said",
    "threads": "users delete their own threads, with the messages and runs in them",
    "todos": "a user's own list, from which the user deletes, and which nobody else reads",
}


def tables() -> dict[str, Any]:
    """Return every table of the database, by name."""
    for path in sorted(ROOT.glob("db/*/tables.py")):
        importlib.import_module(f"db.{path.parent.name}.tables")
    return dict(SQLModel.metadata.tables)


def test_each_table_about_somebody_has_a_forgetter_or_a_reason() -> None:
    named = {name for name, table in tables().items() if COLUMNS & set(table.columns.keys())}

    assert named - {*FORGOTTEN, *KEPT} == set()
    assert {*FORGOTTEN, *KEPT} - {*named, "run_events"} == set()
    assert FORGOTTEN.keys() & KEPT.keys() == set()


@pytest.mark.parametrize(("table", "by"), FORGOTTEN.items())
def test_what_is_forgotten_is_in_the_sql_of_its_forgetter(table: str, by: str) -> None:
    if by.endswith(".py"):
        source = (ROOT / by).read_text("utf-8")
        assert f"DELETE FROM {table} " in source or f"UPDATE {table} " in source
    else:
        (key,) = tables()[table].foreign_key_constraints
        assert (key.referred_table.name, key.ondelete) == (by, "CASCADE")


def test_the_wiring_hands_in_every_forgetter() -> None:
    assert {_module(forgetter) for forgetter in FORGETTERS} == {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("db/*/erasure.py")
        if "async def forget_lead(" in path.read_text("utf-8")
    }


def _module(forgetter: Callable[..., object]) -> str:
    return Path(forgetter.__module__.replace(".", "/")).with_suffix(".py").as_posix()
