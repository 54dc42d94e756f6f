"""Cursors: where a page ended, as a text that clients pass back without looking inside."""

import base64
from datetime import UTC, datetime
from typing import Any

import orjson

from domain.errors import Invalid


def encode(*parts: object) -> str:
    """The cursor of these parts."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def decode_place(cursor: str | None) -> tuple[datetime | None, str | None]:
    """The time and the id behind which a page begins; raises Invalid (`cursor_invalid`)."""
    if not cursor:
        return None, None
    time, after = decode(cursor, 2)
    if not isinstance(time, str) or not isinstance(after, str):
        raise _bad_cursor()
    try:
        return datetime.fromisoformat(time).astimezone(UTC), after
    except (ValueError, OverflowError):
        raise _bad_cursor() from None


def decode_numbers(cursor: str, length: int) -> list[int]:
    """The whole numbers behind which a page begins; raises Invalid (`cursor_invalid`)."""
    numbers = decode(cursor, length)
    if any(type(number) is not int or abs(number) > 2**31 - 1 for number in numbers):
        raise _bad_cursor()
    return numbers


def decode(cursor: str, length: int) -> list[Any]:
    """The parts of a cursor; raises Invalid (`cursor_invalid`)."""
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        parts = None
    if not isinstance(parts, list) or len(parts) != length:
        raise _bad_cursor()
    return parts


def _bad_cursor() -> Invalid:
    return Invalid("This cursor did not come from us.", code="cursor_invalid")
