"""Statements: every SQL constant is one that the migrated database can plan."""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import psycopg
import pytest

import db
from testing.database import as_owner
from testing.stack import Stack

_STATEMENT = re.compile(r"\s*(--[^\n]*\s*)*(SELECT|WITH|INSERT|UPDATE|DELETE)\b")
_PARAMETER = re.compile(r"%(?:\((\w+)\))?s")


def statements() -> Iterator[tuple[str, str]]:
    """Yield the SQL constants of all modules, by their address."""
    for module in pkgutil.walk_packages(db.__path__, "db."):
        if module.name.startswith("db.migrations"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if name.isupper() and isinstance(value, str) and _STATEMENT.match(value):
                yield f"{module.name}.{name}", value


def numbered(statement: str) -> str:
    """Return the statement with the server's numbers for the driver's parameters, named or not."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1] or f"{len(names)}"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PARAMETER.sub(number, statement).replace("%%", "%")


STATEMENTS = dict(statements())


def test_the_walk_finds_the_statements() -> None:
    assert len(STATEMENTS) > 100


@pytest.mark.parametrize("address", STATEMENTS)
def test_the_database_can_plan_it(stack: Stack, address: str) -> None:
    """A misspelt column or an ambiguous parameter is found before a caller finds it."""
    with as_owner(stack) as owner:
        try:
            owner.execute(f"PREPARE statement AS {numbered(STATEMENTS[address])}")
        except psycopg.Error as error:
            pytest.fail(f"{error}")
