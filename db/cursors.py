"""Cursors: the end of a page, as a text that clients pass back without looking inside."""

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson

from domain.base import Page
from domain.errors import CursorInvalid

Row = TypeVar("Row")
Item = TypeVar("Item")


def page(
    rows: Sequence[Row],
    limit: int,
    item: Callable[[Row], Item],
    *,
    key: Callable[[Row], Sequence[object]],
) -> Page[Item]:
    """Return a page of at most `limit` rows. One row more than that only says that another page
    follows. `key` returns the parts of the cursor behind a row."""
    on_page = rows[:limit]
    cursor = encode(*key(on_page[-1])) if len(rows) > limit else None
    return Page(items=[item(row) for row in on_page], next_cursor=cursor)


def encode(*parts: object) -> str:
    """Return the cursor of these parts."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def decode_place(cursor: str | None) -> tuple[datetime | None, str | None]:
    """Read the time and the id behind which a page begins; raises CursorInvalid."""
    if not cursor:
        return None, None
    time, after = decode(cursor, 2)
    if not isinstance(time, str) or not isinstance(after, str):
        raise CursorInvalid
    try:
        return datetime.fromisoformat(time).astimezone(UTC), after
    except (ValueError, OverflowError):
        raise CursorInvalid from None


def decode_numbers(cursor: str, length: int) -> list[int]:
    """Read the whole numbers behind which a page begins; raises CursorInvalid."""
    numbers = decode(cursor, length)
    if any(type(number) is not int or abs(number) > 2**31 - 1 for number in numbers):
        raise CursorInvalid
    return numbers


def decode(cursor: str, length: int) -> list[Any]:
    """Read the parts of a cursor; raises CursorInvalid."""
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        parts = None
    if not isinstance(parts, list) or len(parts) != length:
        raise CursorInvalid
    return parts
