"""Texts from outside: what Postgres and people can read, checked before anything else happens."""

from typing import Annotated

from pydantic import AfterValidator


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
