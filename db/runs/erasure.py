"""Erasure: runs and events that are about somebody who must be forgotten."""

from db.session import Connection
from domain.names import Kind
from domain.runs.events import EventType
from domain.runs.runs import RunRef

_DELETE = """
-- Delete the runs of one kind about one subject, with their events, inputs and usage.
DELETE FROM runs WHERE tenant_id = %(tenant)s AND kind = %(kind)s AND subject_id = %(subject)s
"""


async def delete_runs(connection: Connection, tenant_id: str, kind: Kind, subject_id: str) -> None:
    """Delete the runs of a kind that are about a subject, with all that belongs to them."""
    values = {"tenant": tenant_id, "kind": kind.value, "subject": subject_id}
    await connection.execute(_DELETE, values)


_REDACT = """
-- Empty the events that name a lead. Their rows stay: the seq of a feed has no gaps.
UPDATE run_events SET type = %(type)s, data = '{}' WHERE tenant_id = %(tenant)s
    AND run_id = %(run)s AND data->>'lead_id' = %(lead)s
"""


async def redact_lead(connection: Connection, feed: RunRef, lead_id: str) -> None:
    """Empty the events of a feed that name a lead."""
    values = feed.key | {"lead": lead_id, "type": EventType.LEAD_FORGOTTEN.value}
    await connection.execute(_REDACT, values)
