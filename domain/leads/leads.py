"""Leads: who might buy, what they did, and how it ended."""

import hashlib
import json
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from domain.base import Contract, StrictModel
from domain.fields import Time, storable
from domain.names import ID_PATTERN

MAX_PROFILE_BYTES = 32 * 1024
MAX_PROPERTIES_BYTES = 4 * 1024
LeadId = Annotated[str, Field(pattern=ID_PATTERN)]
EventName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
Words = Annotated[str, Field(max_length=500)]


class Profile(BaseModel):
    """What is known of a lead: a few fields that everything here knows, and any others."""

    model_config = ConfigDict(extra="allow", frozen=True, coerce_numbers_to_str=True)

    name: Words | None = None
    email: Words | None = None
    company: Words | None = None
    title: Words | None = None
    industry: Words | None = None
    size: int | None = Field(default=None, ge=0, le=10_000_000)
    country: Words | None = None
    source: Words | None = None

    @model_validator(mode="after")
    def _storable(self) -> "Profile":
        storable(self.model_extra)
        storable({name: getattr(self, name) for name in type(self).model_fields})
        text = json.dumps(self.model_extra, ensure_ascii=False)
        if len(text.encode(errors="replace")) > MAX_PROFILE_BYTES:
            raise ValueError(f"a profile may have {MAX_PROFILE_BYTES // 1024} KiB")
        return self

    @property
    def stored(self) -> dict[str, Any]:
        """As it is kept: what was given, no more."""
        return self.model_dump(mode="json", exclude_unset=True)


# What no model may see or learn from: it says who somebody is, not what they want. Written as
# `identifying` reads them, without anything but letters.
_IDENTIFYING = frozenset(
    {
        *("name", "firstname", "lastname", "fullname", "surname", "contactname", "username"),
        *("email", "emailaddress", "mail", "phone", "phonenumber", "mobile", "telephone", "fax"),
        *("address", "street", "linkedin", "twitter", "ip", "ipaddress", "birthday", "dateofbirth"),
    }
)


def identifying(name: str) -> bool:
    """Whether a field's name says that it tells who somebody is, however it is spelled."""
    return "".join(filter(str.isalpha, name.casefold())) in _IDENTIFYING


class Ending(StrEnum):
    """How it ended with a lead."""

    WON = "won"
    LOST = "lost"


class LeadOutcome(StrictModel):
    """How it ended: when, and what it was worth (in the tenant's currency)."""

    outcome: Ending
    when: Time | None = None
    value: float | None = Field(default=None, ge=0, le=1e12)


def _small(properties: dict[str, Any]) -> dict[str, Any]:
    storable(properties)
    if len(json.dumps(properties)) > MAX_PROPERTIES_BYTES:
        raise ValueError(f"the properties of an event may have {MAX_PROPERTIES_BYTES // 1024} KiB")
    return properties


class NewLeadEvent(StrictModel):
    """Something that a lead did. The same id is the same event; without one, the same type, time
    and properties are; without a time it happened now. A time up to five minutes ahead of the
    database's clock counts as now, a later one is refused."""

    id: LeadId | None = None
    type: EventName
    time: Time | None = None
    properties: Annotated[dict[str, Any], AfterValidator(_small)] = {}

    @property
    def key(self) -> str:
        """What tells this event from others. Without id and time, each one is another."""
        if self.id is not None:
            return self.id
        if self.time is None:
            return uuid.uuid4().hex
        time = self.time.astimezone(UTC).isoformat()
        said = json.dumps([self.type, time, self.properties], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:32]


class LeadEvent(Contract):
    """An event as it is kept."""

    id: str
    type: str
    time: datetime
    properties: dict[str, Any]


class Lead(Contract):
    """A lead as the API shows it, with its score as it stands."""

    id: str
    profile: dict[str, Any]
    outcome: Ending | None
    outcome_at: datetime | None
    outcome_value: float | None
    score: float | None
    scored_at: datetime | None
    created_at: datetime
    updated_at: datetime


class LeadFilter(StrictModel):
    """Which leads: all that meet every condition that is given. `profile` compares fields of the
    profile, each with one value or any of a list."""

    profile: Annotated[
        dict[str, str | bool | float | list[str | bool | float]],
        Field(max_length=20),
        AfterValidator(storable),
    ] = {}
    outcome: Ending | None = None
    open: bool | None = None
    min_score: float | None = None
    max_score: float | None = None
    scored_before: Time | None = None
    updated_after: Time | None = None


class Rejected(Contract):
    """A line of a file that was not taken, and why."""

    line: int
    reason: str
    text: str


class Imported(Contract):
    """What became of a file. `stopped`: where reading ended before the file did, and why;
    `rejects` are the first thousand, `rejected` counts them all."""

    loaded: int
    unchanged: int
    rejected: int
    rejects: list[Rejected]
    stopped: Rejected | None = None


class LeadRow(Contract):
    """A line of a file on its way into the database."""

    line: int
    id: str
    profile: dict[str, Any]
    outcome: LeadOutcome | None = None
