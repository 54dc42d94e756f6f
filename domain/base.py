"""Contract: the base of everything that crosses a process boundary."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item")


class Contract(BaseModel):
    """A frozen value. Unknown fields are ignored, so that an old reader survives a new writer.

    Fields are only ever added, with a default: Temporal replays what was stored years ago.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64")


class StrictModel(Contract):
    """A request. Unknown fields are refused, not ignored: a condition or a limit that is misspelt
    would do more than was meant."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[Item]):
    """A page of a listing; pass `next_cursor` as `cursor` for the page after it."""

    items: list[Item]
    next_cursor: str | None
