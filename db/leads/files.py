"""Lead files: their lines on the way into the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from db import arrays
from db.runs import events as event_log
from db.session import Connection, many
from domain.leads.leads import LeadLine


class _LeadColumns(NamedTuple):
    id: str
    profile: str
    outcome: str | None
    outcome_at: datetime | None
    outcome_value: float | None


# A new outcome without a time has that of the transaction, by which it is told from a given one.
_OUTCOME_AT = """coalesce(nullif(excluded.outcome_at, now()),
    CASE WHEN coalesce(excluded.outcome, l.outcome) = l.outcome THEN l.outcome_at END,
    excluded.outcome_at)"""
_LOAD = f"""
-- Add to the profiles and outcomes of leads, in the order of their ids; the same file again
-- changes nothing, and its leads are not returned. An outcome has the file's time, or the known
-- one if it stays the same.
INSERT INTO leads AS l (tenant_id, id, profile, outcome, outcome_at, outcome_value)
SELECT %(tenant)s, g.id, g.profile::jsonb, g.outcome,
    CASE WHEN g.outcome IS NOT NULL THEN coalesce(g.outcome_at, now()) END, g.outcome_value
FROM {arrays.unnest(_LeadColumns, "g")}
ON CONFLICT (tenant_id, id) DO UPDATE SET profile = l.profile || excluded.profile,
    outcome = coalesce(excluded.outcome, l.outcome),
    outcome_at = {_OUTCOME_AT},
    outcome_value = coalesce(excluded.outcome_value, l.outcome_value), updated_at = now()
WHERE (l.profile || excluded.profile, coalesce(excluded.outcome, l.outcome), {_OUTCOME_AT},
        coalesce(excluded.outcome_value, l.outcome_value))
    IS DISTINCT FROM (l.profile, l.outcome, l.outcome_at, l.outcome_value)
RETURNING id
"""


async def load(connection: Connection, tenant_id: str, lines: Sequence[LeadLine]) -> int:
    """Import lines of a file; return how many leads changed. A lead that comes twice is one."""
    merged: dict[str, LeadLine] = {}
    for line in lines:
        before = merged.get(line.id)
        merged[line.id] = line if before is None else _merged(before, line)
    rows = [_columns(merged[lead_id]) for lead_id in sorted(merged)]
    values = {"tenant": tenant_id} | arrays.columns_of(_LeadColumns, rows)
    return len(await many(connection, _LOAD, values))


def _columns(line: LeadLine) -> _LeadColumns:
    outcome, profile = line.outcome, event_log.encode(line.profile)
    if outcome is None:
        return _LeadColumns(line.id, profile, None, None, None)
    return _LeadColumns(line.id, profile, outcome.outcome.value, outcome.when, outcome.value)


def _merged(before: LeadLine, line: LeadLine) -> LeadLine:
    """Merge two lines of one lead, as if the second came after the first."""
    known, outcome = before.outcome, line.outcome or before.outcome
    if known is not None and outcome is not None:
        when = known.when if outcome.outcome == known.outcome else None
        value = known.value if outcome.value is None else outcome.value
        outcome = outcome.model_copy(update={"when": outcome.when or when, "value": value})
    return line.model_copy(update={"profile": before.profile | line.profile, "outcome": outcome})
