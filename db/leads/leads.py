"""Leads: profiles, behaviour and outcomes, each change with the score that it asks for."""

from collections.abc import Sequence
from typing import Any

from db import cursors
from db.identity import audit
from db.leads import rescores
from db.leads.filters import STANDING, conditions
from db.runs import events as event_log
from db.runs import feeds
from db.session import Connection, Database, many, one
from domain.base import Page
from domain.errors import Invalid, NotFound
from domain.identity.principals import Principal
from domain.leads.leads import Lead, LeadEvent, LeadFilter, LeadOutcome, LeadRow, NewLeadEvent
from domain.names import Kind
from domain.runs.events import EventType
from domain.runs.runs import RunSpec

_COLUMNS = """l.id, l.profile, l.outcome, l.outcome_at, l.outcome_value, s.score,
    s.calculated_at AS scored_at, l.created_at, l.updated_at"""
_READ = (
    f"SELECT {_COLUMNS} FROM leads l {STANDING} WHERE l.tenant_id = %(tenant)s AND l.id = %(lead)s"
)
_PUT = """
INSERT INTO leads (tenant_id, id, profile) VALUES (%(tenant)s, %(lead)s, %(profile)s::jsonb)
ON CONFLICT (tenant_id, id) DO UPDATE SET profile = excluded.profile, updated_at = now()
    WHERE leads.profile IS DISTINCT FROM excluded.profile
RETURNING xmax = 0 AS created
"""
_EVENTS = """
INSERT INTO lead_events (tenant_id, lead_id, id, type, time, properties)
SELECT %(tenant)s, %(lead)s, e.id, e.type, least(e.time, now()), e.properties::jsonb
FROM unnest(%(ids)s::text[], %(types)s::text[], %(times)s::timestamptz[], %(properties)s::text[])
    AS e (id, type, time, properties)
ORDER BY e.id
ON CONFLICT DO NOTHING RETURNING id
"""
# Clocks differ: what is stamped a little ahead happened now, and must count in its own rescore.
_HOLD = """
SELECT (SELECT min(number) FROM unnest(%(times)s::timestamptz[]) WITH ORDINALITY AS e (time, number)
    WHERE time > now() + interval '5 minutes') AS ahead
FROM leads WHERE tenant_id = %(tenant)s AND id = %(lead)s FOR KEY SHARE
"""
_LATEST = """
SELECT id, type, time, properties FROM lead_events
WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s ORDER BY time DESC, id LIMIT %(limit)s
"""
_OUTCOME = """
UPDATE leads SET outcome = %(outcome)s, outcome_value = coalesce(%(value)s, outcome_value),
    outcome_at = coalesce(%(when)s,
        CASE WHEN outcome = %(outcome)s THEN outcome_at END, now())
WHERE tenant_id = %(tenant)s AND id = %(lead)s RETURNING 1
"""
# When it ended, by what a file says: its own time, or the known one if the outcome stays. A new
# outcome without a time has that of the transaction, by which it is told from a given one.
_ENDED_AT = """coalesce(nullif(excluded.outcome_at, now()),
    CASE WHEN coalesce(excluded.outcome, l.outcome) = l.outcome THEN l.outcome_at END,
    excluded.outcome_at)"""
# A file adds to what is known, and the same file twice changes nothing.
_IMPORT = f"""
INSERT INTO leads AS l (tenant_id, id, profile, outcome, outcome_at, outcome_value)
SELECT %(tenant)s, g.id, g.profile::jsonb, g.outcome,
    CASE WHEN g.outcome IS NOT NULL THEN coalesce(g.outcome_at, now()) END, g.value
FROM unnest(%(ids)s::text[], %(profiles)s::text[], %(outcomes)s::text[],
    %(times)s::timestamptz[], %(values)s::float8[]) AS g (id, profile, outcome, outcome_at, value)
ON CONFLICT (tenant_id, id) DO UPDATE SET profile = l.profile || excluded.profile,
    outcome = coalesce(excluded.outcome, l.outcome),
    outcome_at = {_ENDED_AT},
    outcome_value = coalesce(excluded.outcome_value, l.outcome_value), updated_at = now()
WHERE (l.profile || excluded.profile, coalesce(excluded.outcome, l.outcome), {_ENDED_AT},
        coalesce(excluded.outcome_value, l.outcome_value))
    IS DISTINCT FROM (l.profile, l.outcome, l.outcome_at, l.outcome_value)
RETURNING id
"""
_FORGET = "DELETE FROM leads WHERE tenant_id = %(tenant)s AND id = %(lead)s RETURNING 1"
_TRACES = (
    "DELETE FROM runs WHERE tenant_id = %(tenant)s AND kind = %(kind)s AND subject_id = %(lead)s",
    "DELETE FROM scores WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s",
    "DELETE FROM current_scores WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s",
    "DELETE FROM batch_failures WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s",
    "DELETE FROM answer_cache WHERE tenant_id = %(tenant)s AND subject = %(lead)s",
    "DELETE FROM score_requests WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s",
    """UPDATE run_events SET type = 'lead.forgotten', data = '{}' WHERE tenant_id = %(tenant)s
        AND run_id = %(feed)s AND data->>'lead_id' = %(lead)s""",
)
# What can be sorted by: the expression, its type, and the value of a lead without one.
_SORTS = {
    "score": ("coalesce(s.score, -1)", "float8"),
    "created": ("l.created_at", "timestamptz"),
    "updated": ("l.updated_at", "timestamptz"),
    "name": ("coalesce(l.profile->>'name', '')", "text"),
}


class Leads:
    """The leads of a tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, caller: Principal, lead_id: str) -> Lead:
        """One lead; raises NotFound (`lead_unknown`)."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await _read(connection, caller, lead_id)

    async def put(
        self, caller: Principal, lead_id: str, profile: dict[str, Any]
    ) -> tuple[Lead, bool, RunSpec | None]:
        """Make a lead or replace its profile: the lead, whether it is new, and its new score.

        The same profile again changes nothing, and asks for no score.
        """
        values = _values(caller, lead_id) | {"profile": event_log.encode(profile)}
        async with self._database.transaction(caller.tenant_id) as connection:
            changed = await one(connection, _PUT, values)
            launch = await _rescore(connection, caller, lead_id) if changed else None
            lead = await _read(connection, caller, lead_id)
        return lead, changed is not None and changed["created"], launch

    async def add_events(
        self, caller: Principal, lead_id: str, events: Sequence[NewLeadEvent]
    ) -> tuple[list[str], RunSpec | None]:
        """Keep what a lead did; the ids that are new, and the score that they ask for.

        Raises NotFound (`lead_unknown`), Invalid (`event_ahead`) for one in the future.
        """
        values = _values(caller, lead_id) | {
            "ids": [event.key for event in events],
            "types": [event.type for event in events],
            "times": [event.time for event in events],
            "properties": [event_log.encode(event.properties) for event in events],
        }
        async with self._database.transaction(caller.tenant_id) as connection:
            held = await one(connection, _HOLD, values)
            if held is None:
                raise _unknown()
            if held["ahead"] is not None:
                raise _ahead(held["ahead"], events)
            new = {row["id"] for row in await many(connection, _EVENTS, values)}
            launch = await _rescore(connection, caller, lead_id) if new else None
        return [key for key in dict.fromkeys(values["ids"]) if key in new], launch

    async def events(self, caller: Principal, lead_id: str, limit: int) -> list[LeadEvent]:
        """What a lead did, the latest first; raises NotFound (`lead_unknown`)."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await _read(connection, caller, lead_id)
            rows = await many(connection, _LATEST, _values(caller, lead_id) | {"limit": limit})
        return [LeadEvent.model_validate(row) for row in rows]

    async def set_outcome(self, caller: Principal, lead_id: str, ended: LeadOutcome) -> Lead:
        """Write down how it ended; raises NotFound (`lead_unknown`)."""
        values = _values(caller, lead_id) | ended.model_dump()
        async with self._database.transaction(caller.tenant_id) as connection:
            if await one(connection, _OUTCOME, values) is None:
                raise _unknown()
            return await _read(connection, caller, lead_id)

    async def forget(self, caller: Principal, lead_id: str) -> None:
        """Erase a lead with all that came of it, and tell screens that something was; raises
        NotFound (`lead_unknown`)."""
        feed = feeds.scores_of(caller.tenant_id)
        values = _values(caller, lead_id) | {"feed": feed.run_id, "kind": Kind.SCORE.value}
        async with self._database.transaction(caller.tenant_id) as connection:
            if await one(connection, _FORGET, values) is None:
                raise _unknown()
            for statement in _TRACES:
                await connection.execute(statement, values)
            await feeds.publish(connection, feed, EventType.LEAD_FORGOTTEN, {})
            await audit.record(
                connection, caller.tenant_id, caller.user_id, "lead.forgotten", lead_id
            )

    async def find(
        self,
        caller: Principal,
        chosen: LeadFilter,
        *,
        sort: str,
        descending: bool,
        cursor: str | None,
        limit: int,
    ) -> Page[Lead]:
        """Leads that a filter finds, in order; raises Invalid (`cursor_invalid`)."""
        condition, values = conditions(chosen)
        expression, kind = _SORTS[sort]
        compare, direction = ("<", "DESC") if descending else (">", "ASC")
        after, behind = _place(cursor, sort)
        query = f"""
            SELECT {_COLUMNS}, ({expression})::text AS place FROM leads l {STANDING}
            WHERE l.tenant_id = %(tenant)s AND {condition}
              AND (%(after)s::text IS NULL
                OR ({expression}, l.id) {compare} (%(after)s::{kind}, %(behind)s))
            ORDER BY {expression} {direction}, l.id {direction} LIMIT %(limit)s
        """
        values |= {"tenant": caller.tenant_id, "after": after, "behind": behind}
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await many(connection, query, values | {"limit": limit + 1})
        page, last = rows[:limit], rows[limit - 1] if len(rows) > limit else None
        return Page(
            items=[Lead.model_validate(row) for row in page],
            next_cursor=cursors.encode(sort, last["place"], last["id"]) if last else None,
        )

    async def load(self, tenant_id: str, rows: Sequence[LeadRow]) -> int:
        """Take lines of a file in; how many changed something. A lead that comes twice is one."""
        merged: dict[str, LeadRow] = {}
        for row in rows:
            before = merged.get(row.id)
            merged[row.id] = row if before is None else _added(before, row)
        leads = [merged[lead_id] for lead_id in sorted(merged)]
        ends = [lead.outcome for lead in leads]
        values = {
            "tenant": tenant_id,
            "ids": [lead.id for lead in leads],
            "profiles": [event_log.encode(lead.profile) for lead in leads],
            "outcomes": [end.outcome.value if end else None for end in ends],
            "times": [end.when if end else None for end in ends],
            "values": [end.value if end else None for end in ends],
        }
        async with self._database.transaction(tenant_id) as connection:
            return len(await many(connection, _IMPORT, values))


async def _read(connection: Connection, caller: Principal, lead_id: str) -> Lead:
    row = await one(connection, _READ, _values(caller, lead_id))
    if row is None:
        raise _unknown()
    return Lead.model_validate(row)


async def _rescore(connection: Connection, caller: Principal, lead_id: str) -> RunSpec | None:
    return await rescores.request(connection, caller.tenant_id, caller.user_id, lead_id)


def _place(cursor: str | None, sort: str) -> tuple[str | None, str | None]:
    if not cursor:
        return None, None
    named, after, behind = cursors.decode(cursor, 3)
    if named != sort or not isinstance(after, str) or not isinstance(behind, str):
        raise Invalid("This cursor belongs to another order.", code="cursor_invalid")
    return after, behind


def _values(caller: Principal, lead_id: str) -> dict[str, Any]:
    return {"tenant": caller.tenant_id, "lead": lead_id}


def _added(before: LeadRow, row: LeadRow) -> LeadRow:
    """What two lines say of one lead, as if the second came after the first."""
    known, ended = before.outcome, row.outcome or before.outcome
    if known is not None and ended is not None:
        when = known.when if ended.outcome == known.outcome else None
        value = known.value if ended.value is None else ended.value
        ended = ended.model_copy(update={"when": ended.when or when, "value": value})
    return row.model_copy(update={"profile": before.profile | row.profile, "outcome": ended})


def _ahead(number: int, events: Sequence[NewLeadEvent]) -> Invalid:
    which = f"Event {number}" if len(events) > 1 else "The event"
    return Invalid(
        f"{which} lies in the future ({events[number - 1].time}): what has not happened yet cannot "
        "be kept.",
        code="event_ahead",
    )


def _unknown() -> NotFound:
    return NotFound("There is no such lead.", code="lead_unknown")
