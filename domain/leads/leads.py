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
ShortText = Annotated[str, Field(max_length=500)]


class Profile(BaseModel):
    """All that is known of a lead: a few fields that every model may rely on, and any others."""

    model_config = ConfigDict(extra="allow", frozen=True, coerce_numbers_to_str=True)

    name: ShortText | None = None
    email: ShortText | None = None
    company: ShortText | None = None
    title: ShortText | None = None
    industry: ShortText | None = None
    size: int | None = Field(default=None, ge=0, le=10_000_000)
    country: ShortText | None = None
    source: ShortText | None = None

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
        """Return the fields that were given, as the database stores them."""
        return self.model_dump(mode="json", exclude_unset=True)


# What no model may see or learn from: it says who somebody is, not what they want. Written as
# `is_identifying` reads them, without anything but letters.
_IDENTIFYING = frozenset(
    {
        *("name", "firstname", "lastname", "fullname", "surname", "contactname", "username"),
        *("email", "emailaddress", "mail", "phone", "phonenumber", "mobile", "telephone", "fax"),
        *("address", "street", "linkedin", "twitter", "ip", "ipaddress", "birthday", "dateofbirth"),
    }
)


def is_identifying(name: str) -> bool:
    """Return whether a field says who somebody is, judged by its name, however it is spelled."""
    return "".join(filter(str.isalpha, name.casefold())) in _IDENTIFYING


class OutcomeKind(StrEnum):
    """The two ends of a lead."""

    WON = "won"
    LOST = "lost"


class LeadOutcome(StrictModel):
    """The end of a lead: won or lost, when, and what it was worth (in the tenant's currency)."""

    outcome: OutcomeKind
    when: Time | None = None
    value: float | None = Field(default=None, ge=0, le=1e12)


def _limited(properties: dict[str, Any]) -> dict[str, Any]:
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
    properties: Annotated[dict[str, Any], AfterValidator(_limited)] = {}

    @property
    def key(self) -> str:
        """Return what tells this event from others. Without id and time, each one is another."""
        if self.id is not None:
            return self.id
        if self.time is None:
            return uuid.uuid4().hex
        time = self.time.astimezone(UTC).isoformat()
        content = json.dumps([self.type, time, self.properties], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


class LeadEvent(Contract):
    """An event of a lead, as the API shows it."""

    id: str
    type: str
    time: datetime
    properties: dict[str, Any]


class Lead(Contract):
    """A lead as the API shows it, with its current score."""

    id: str
    profile: dict[str, Any]
    outcome: OutcomeKind | None
    outcome_at: datetime | None
    outcome_value: float | None
    score: float | None
    scored_at: datetime | None
    created_at: datetime
    updated_at: datetime


class LeadFilter(StrictModel):
    """The leads that meet every condition that is given. `profile` compares fields of the profile,
    each with one value or any of a list."""

    profile: Annotated[
        dict[str, str | bool | float | list[str | bool | float]],
        Field(max_length=20),
        AfterValidator(storable),
    ] = {}
    outcome: OutcomeKind | None = None
    open: bool | None = None
    min_score: float | None = None
    max_score: float | None = None
    scored_before: Time | None = None
    updated_after: Time | None = None


class RejectedLine(Contract):
    """A line of a file that was not taken, and why."""

    line: int
    reason: str
    text: str


class ImportReport(Contract):
    """The result of an import. `stopped`: where reading ended before the file did, and why;
    `rejects` are the first thousand, `rejected` counts them all."""

    loaded: int
    unchanged: int
    rejected: int
    rejects: list[RejectedLine]
    stopped: RejectedLine | None = None


class LeadLine(Contract):
    """A line of a file on its way into the database."""

    line: int
    id: str
    profile: dict[str, Any]
    outcome: LeadOutcome | None = None
