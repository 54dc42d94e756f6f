"""Fields that can be stored: JSON and moments that Postgres, JavaScript and people can read."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_DEPTH = 32
_LARGEST = 2**63
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def storable(value: Any) -> Any:
    """Return the same value. Raises ValueError for one that cannot be stored: deeper than 32
    levels, numbers beyond 64 bits, texts that are not Unicode or hold NUL."""
    _check(value, _DEPTH)
    return value


def moment(time: datetime) -> datetime:
    """Return a moment, in UTC unless it says otherwise. Raises ValueError outside 1970 to 9000."""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    try:
        fits = _EARLIEST <= aware.astimezone(UTC) < _LATEST
    except OverflowError:
        fits = False
    if not fits:
        raise ValueError("a time lies between the years 1970 and 9000")
    return aware


def _written_out(value: Any) -> Any:
    # A bare number could be seconds, a year or a date: whoever guesses loads 20260115 as 1970.
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
        return value
    raise ValueError(
        "a time is an ISO date or date-time, such as 2026-01-15 or 2026-01-15T09:30:00Z"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


Time = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(moment)]
Storable = Annotated[str, AfterValidator(storable)]
OneLine = Annotated[Storable, AfterValidator(_one_line)]


def _check(value: Any, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"objects may be {_DEPTH} levels deep")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_text(name)
            _check(inner, depth - 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(inner, depth - 1)
    elif isinstance(value, str):
        _check_text(value)
    else:
        _check_number(value)


def _check_number(value: Any) -> None:
    # Postgres writes a large number out in full, and then it is a whole one of hundreds of digits.
    if isinstance(value, int | float) and not abs(value) < _LARGEST:
        raise ValueError("a number lies within 64 bits")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("a text cannot hold the NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text is not valid Unicode") from None
