"""Texts from outside: what Postgres and people can read, checked before anything else happens."""

import hashlib
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

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


class Strict(BaseModel):
    """A body whose every word is understood: what nobody knows is refused, not passed over."""

    model_config = ConfigDict(extra="forbid")


Storable = Annotated[str, AfterValidator(_storable)]
OneLine = Annotated[Storable, AfterValidator(_one_line)]


def key_of(idempotency_key: str | None) -> str | None:
    """The part of a run's id that an `Idempotency-Key` stands for."""
    if not idempotency_key:
        return None
    if re.fullmatch(ID_PATTERN, idempotency_key):
        return idempotency_key
    return hashlib.sha256(idempotency_key.encode()).hexdigest()
