"""Texts from outside: what Postgres and people can read, checked before anything else happens."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel

from domain.names import ID_PATTERN


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text cannot hold the NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text is not valid Unicode") from None
    return text


def _one_line(text: str) -> str:
    return " ".join(text.split())


Storable = Annotated[str, AfterValidator(_storable)]
OneLine = Annotated[Storable, AfterValidator(_one_line)]


def _storable_json(value: Any) -> Any:
    for text in _texts(value.model_dump() if isinstance(value, BaseModel) else value):
        _storable(text)
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, BaseModel):
        yield from _texts(value.model_dump())
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(name)
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)


StorableJson = AfterValidator(_storable_json)


def key_of(idempotency_key: str | None) -> str | None:
    """The part of a run's id that an `Idempotency-Key` stands for."""
    if not idempotency_key:
        return None
    if re.fullmatch(ID_PATTERN, idempotency_key):
        return idempotency_key
    return hashlib.sha256(idempotency_key.encode()).hexdigest()
