"""Leads: profiles, behaviour and outcomes, each change with the score that it requests."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from db import arrays, cursors
from db.identity import audit
from db.leads import files, rescores
from db.leads.erasure import Forgetter
from db.leads.filters import CURRENT_SCORE, conditions
from db.runs import events as event_log
from db.runs import feeds
from db.session import Connection, Database, many, one
from domain.base import Page
from domain.errors import CursorInvalid
from domain.identity.principals import Principal
from domain.leads.errors import EventAhead, LeadUnknown
from domain.leads.leads import Lead, LeadEvent, LeadFilter, LeadLine, LeadOutcome, NewLeadEvent
from domain.runs.events import EventType
from domain.runs.runs import RunSpec

_COLUMNS = """l.id, l.profile, l.outcome, l.outcome_at, l.outcome_value, s.score,
    s.calculated_at AS scored_at, l.created_at, l.updated_at"""


class Leads:
    """The leads of a tenant. `forgetters` erase what other tables hold of one, in this order."""

    def __init__(self, database: Database, forgetters: Sequence[Forgetter]) -> None:
        self._database = database
        self._forgetters = forgetters

    async def read(self, caller: Principal, lead_id: str) -> Lead:
        """Return one lead. Raises LeadUnknown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await _read(connection, caller, lead_id)

    async def put(
        self, caller: Principal, lead_id: str, profile: dict[str, Any]
    ) -> tuple[Lead, bool, RunSpec | None]:
        """Create a lead or replace its profile. Return the lead, whether it is new, and the run
        that will score it.

        The same profile again changes nothing, and requests no score.
        """
        async with self._database.transaction(caller.tenant_id) as connection:
            created = await _put(connection, caller, lead_id, profile)
            changed = created is not None
            spec = await _rescore(connection, caller, lead_id) if changed else None
            lead = await _read(connection, caller, lead_id)
        return lead, bool(created), spec

    async def add_events(
        self, caller: Principal, lead_id: str, events: Sequence[NewLeadEvent]
    ) -> tuple[list[str], RunSpec | None]:
        """Add events of a lead. Return the ids that are new, and the run that will score it.

        Raises LeadUnknown, and EventAhead for an event in the future.
        """
        async with self._database.transaction(caller.tenant_id) as connection:
            await _lock(connection, caller, lead_id, events)
            new = await _add_events(connection, caller, lead_id, events)
            spec = await _rescore(connection, caller, lead_id) if new else None
        return [key for key in dict.fromkeys(event.key for event in events) if key in new], spec

    async def events(self, caller: Principal, lead_id: str, limit: int) -> list[LeadEvent]:
        """Return the events of a lead, the latest first. Raises LeadUnknown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await _read(connection, caller, lead_id)
            return await _events(connection, caller, lead_id, limit)

    async def set_outcome(self, caller: Principal, lead_id: str, outcome: LeadOutcome) -> Lead:
        """Record how it ended with a lead. Raises LeadUnknown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await _set_outcome(connection, caller, lead_id, outcome)
            return await _read(connection, caller, lead_id)

    async def forget(self, caller: Principal, lead_id: str) -> None:
        """Erase a lead with all that came of it, and publish that one was erased. Raises
        LeadUnknown."""
        tenant_id = caller.tenant_id
        async with self._database.transaction(tenant_id) as connection:
            await _delete(connection, caller, lead_id)
            for forget_lead in self._forgetters:
                await forget_lead(connection, tenant_id, lead_id)
            feed = feeds.scores_of(tenant_id)
            await feeds.publish(connection, feed, EventType.LEAD_FORGOTTEN, {})
            await audit.record(connection, tenant_id, caller.user_id, "lead.forgotten", lead_id)

    async def find(
        self,
        caller: Principal,
        filter: LeadFilter,
        *,
        sort: str,
        descending: bool,
        cursor: str | None,
        limit: int,
    ) -> Page[Lead]:
        """Return a page of the leads that meet a filter, sorted. Raises CursorInvalid."""
        condition, values = conditions(filter)
        after, after_id = _position(cursor, sort)
        values |= {"tenant": caller.tenant_id, "after": after, "after_id": after_id}
        query = _page_query(condition, _SORT_KEYS[sort], descending=descending)
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await many(connection, query, values | {"limit": limit + 1})
        return cursors.page(
            rows, limit, Lead.model_validate, key=lambda row: (sort, row["sort_value"], row["id"])
        )

    async def load(self, tenant_id: str, lines: Sequence[LeadLine]) -> int:
        """Import lines of a file; return how many leads changed."""
        async with self._database.transaction(tenant_id) as connection:
            return await files.load(connection, tenant_id, lines)


_READ = f"""
-- Read one lead with its current score.
SELECT {_COLUMNS} FROM leads l {CURRENT_SCORE}
WHERE l.tenant_id = %(tenant)s AND l.id = %(lead)s
"""


async def _read(connection: Connection, caller: Principal, lead_id: str) -> Lead:
    row = await one(connection, _READ, _key(caller, lead_id))
    if row is None:
        raise LeadUnknown(lead_id=lead_id)
    return Lead.model_validate(row)


_PUT = """
-- Create a lead or replace its profile; return no row if it had this one. Locks the lead.
INSERT INTO leads (tenant_id, id, profile) VALUES (%(tenant)s, %(lead)s, %(profile)s::jsonb)
ON CONFLICT (tenant_id, id) DO UPDATE SET profile = excluded.profile, updated_at = now()
    WHERE leads.profile IS DISTINCT FROM excluded.profile
RETURNING xmax = 0 AS created
"""


async def _put(
    connection: Connection, caller: Principal, lead_id: str, profile: dict[str, Any]
) -> bool | None:
    """Return whether the lead is new; None if nothing has changed."""
    values = _key(caller, lead_id) | {"profile": event_log.encode(profile)}
    row = await one(connection, _PUT, values)
    return bool(row["created"]) if row else None


_LOCK = """
-- Keep a lead from being erased, and return the number of the first event that lies in the future.
-- Clocks differ: an event stamped a little ahead happened now, and must count in its own rescore.
SELECT (SELECT min(number) FROM unnest(%(times)s::timestamptz[]) WITH ORDINALITY AS e (time, number)
    WHERE time > now() + interval '5 minutes') AS ahead
FROM leads WHERE tenant_id = %(tenant)s AND id = %(lead)s FOR KEY SHARE
"""


async def _lock(
    connection: Connection, caller: Principal, lead_id: str, events: Sequence[NewLeadEvent]
) -> None:
    times = {"times": [event.time for event in events]}
    row = await one(connection, _LOCK, _key(caller, lead_id) | times)
    if row is None:
        raise LeadUnknown(lead_id=lead_id)
    if row["ahead"] is not None:
        raise _event_ahead(row["ahead"], events)


class _EventRow(NamedTuple):
    id: str
    type: str
    time: datetime | None
    properties: str


_ADD_EVENTS = f"""
-- Add the events that a lead does not have yet, in the order of their ids, so that two callers
-- never wait for each other in a circle; return the new ones.
INSERT INTO lead_events (tenant_id, lead_id, id, type, time, properties)
SELECT %(tenant)s, %(lead)s, e.id, e.type, least(e.time, now()), e.properties::jsonb
FROM {arrays.unnest(_EventRow, "e")}
ORDER BY e.id
ON CONFLICT DO NOTHING RETURNING id
"""


async def _add_events(
    connection: Connection, caller: Principal, lead_id: str, events: Sequence[NewLeadEvent]
) -> set[str]:
    rows = [_EventRow(e.key, e.type, e.time, event_log.encode(e.properties)) for e in events]
    values = _key(caller, lead_id) | arrays.columns_of(_EventRow, rows)
    return {row["id"] for row in await many(connection, _ADD_EVENTS, values)}


_EVENTS = """
-- Read the latest events of a lead.
SELECT id, type, time, properties FROM lead_events
WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s ORDER BY time DESC, id LIMIT %(limit)s
"""


async def _events(
    connection: Connection, caller: Principal, lead_id: str, limit: int
) -> list[LeadEvent]:
    rows = await many(connection, _EVENTS, _key(caller, lead_id) | {"limit": limit})
    return [LeadEvent.model_validate(row) for row in rows]


_SET_OUTCOME = """
-- Record an outcome. Without a time it happened now, or when the same outcome was recorded before.
UPDATE leads SET outcome = %(outcome)s, outcome_value = coalesce(%(value)s, outcome_value),
    outcome_at = coalesce(%(when)s, CASE WHEN outcome = %(outcome)s THEN outcome_at END, now())
WHERE tenant_id = %(tenant)s AND id = %(lead)s RETURNING 1
"""


async def _set_outcome(
    connection: Connection, caller: Principal, lead_id: str, outcome: LeadOutcome
) -> None:
    values = _key(caller, lead_id) | outcome.model_dump()
    if await one(connection, _SET_OUTCOME, values) is None:
        raise LeadUnknown(lead_id=lead_id)


_DELETE = """
-- Delete a lead with its events. A run that is scoring it waits for this, and stores nothing.
DELETE FROM leads WHERE tenant_id = %(tenant)s AND id = %(lead)s RETURNING 1
"""


async def _delete(connection: Connection, caller: Principal, lead_id: str) -> None:
    if await one(connection, _DELETE, _key(caller, lead_id)) is None:
        raise LeadUnknown(lead_id=lead_id)


class _SortKey(NamedTuple):
    """The expression that leads are sorted by, with a value for every lead, and its type."""

    sql: str
    type: str


_SORT_KEYS = {
    "score": _SortKey("coalesce(s.score, -1)", "float8"),
    "created": _SortKey("l.created_at", "timestamptz"),
    "updated": _SortKey("l.updated_at", "timestamptz"),
    "name": _SortKey("coalesce(l.profile->>'name', '')", "text"),
}


def _page_query(condition: str, key: _SortKey, *, descending: bool) -> str:
    compare, direction = ("<", "DESC") if descending else (">", "ASC")
    return f"""
        -- Read a page of leads behind a value of the sort key and an id.
        SELECT {_COLUMNS}, ({key.sql})::text AS sort_value FROM leads l {CURRENT_SCORE}
        WHERE l.tenant_id = %(tenant)s AND {condition}
          AND (%(after)s::text IS NULL
            OR ({key.sql}, l.id) {compare} (%(after)s::{key.type}, %(after_id)s))
        ORDER BY {key.sql} {direction}, l.id {direction} LIMIT %(limit)s
    """


def _position(cursor: str | None, sort: str) -> tuple[str | None, str | None]:
    if not cursor:
        return None, None
    sorted_by, after, after_id = cursors.decode(cursor, 3)
    if sorted_by != sort or not isinstance(after, str) or not isinstance(after_id, str):
        raise CursorInvalid("This cursor belongs to another sort order.")
    return after, after_id


def _event_ahead(number: int, events: Sequence[NewLeadEvent]) -> EventAhead:
    event = f"Event {number}" if len(events) > 1 else "The event"
    return EventAhead(
        f"{event} lies in the future ({events[number - 1].time}): what has not happened yet cannot "
        "be recorded."
    )


async def _rescore(connection: Connection, caller: Principal, lead_id: str) -> RunSpec | None:
    return await rescores.request(connection, caller.tenant_id, caller.user_id, lead_id)


def _key(caller: Principal, lead_id: str) -> dict[str, Any]:
    return {"tenant": caller.tenant_id, "lead": lead_id}
