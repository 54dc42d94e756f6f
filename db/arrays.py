"""Arrays: many rows in one statement, as one array for each column."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, get_args, get_type_hints

_TYPES = {str: "text", int: "bigint", float: "float8", bool: "bool", datetime: "timestamptz"}


def unnest(row: type[NamedTuple], alias: str) -> str:
    """Return the SQL that makes a table of the arrays of such rows, with a column per field."""
    types = {name: _type(hint) for name, hint in get_type_hints(row).items()}
    arrays = ", ".join(f"%({name})s::{kind}[]" for name, kind in types.items())
    return f"unnest({arrays}) AS {alias} ({', '.join(types)})"


def columns_of(row: type[NamedTuple], rows: Sequence[NamedTuple]) -> dict[str, list[Any]]:
    """Return the arrays of rows by the names of their fields, as `unnest` reads them."""
    return {name: [getattr(each, name) for each in rows] for name in row._fields}


def _type(hint: Any) -> str:
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] or [hint]
    return _TYPES[kinds[0]]
