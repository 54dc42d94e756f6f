"""Feeds: what a tenant's screens are told as it happens, kept like the events of a run.

A feed is a run that never ends: its events have a gapless `seq`, wake readers up, and can be read
again from where a reader was. Only the latest are kept.
"""

from typing import Any

from db.runs import events as event_log
from db.session import Connection, Database, one
from domain import names
from domain.names import Kind
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import RunRef

_KEPT = 5_000
_EVERY = 500
_MAKE = """
INSERT INTO runs (tenant_id, id, kind, subject_id, user_id, status, model, step, attempt,
    last_seq, input_tokens, output_tokens, cost_micros)
VALUES (%(tenant)s, %(run)s, 'feed', '', '', 'running', '', 0, 0, 0, 0, 0, 0)
ON CONFLICT DO NOTHING
"""
_LAST = "SELECT last_seq FROM runs WHERE tenant_id = %(tenant)s AND id = %(run)s"
_TRIM = """
DELETE FROM run_events WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND seq <= %(seq)s
"""


class Feeds:
    """The feeds of tenants, for those who read them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last(self, feed: RunRef) -> tuple[int, int]:
        """The seqs of a feed's last event, and of the one before the oldest that will be kept for
        a while; the feed is made if nothing has happened yet."""
        async with self._database.transaction(feed.tenant_id) as connection:
            seq = await _ensure(connection, feed)
        return seq, max(0, seq - _KEPT + _EVERY)


def scores_of(tenant_id: str) -> RunRef:
    """The feed of a tenant's new scores."""
    return RunRef(tenant_id=tenant_id, run_id=names.run_id(Kind.FEED, "scores"))


async def publish(
    connection: Connection, feed: RunRef, kind: EventType, data: dict[str, Any]
) -> None:
    """Tell a tenant's screens, in the transaction of what is told."""
    seq = await _ensure(connection, feed, f"{_LAST} FOR NO KEY UPDATE")
    await event_log.append(connection, feed, 0, 0, [NewEvent(type=kind, data=data)], fenced=False)
    if seq % _EVERY == 0 and seq > _KEPT:
        await connection.execute(_TRIM, _values(feed) | {"seq": seq - _KEPT})


async def _ensure(connection: Connection, feed: RunRef, query: str = _LAST) -> int:
    row = await one(connection, query, _values(feed))
    if row is None:
        await connection.execute(_MAKE, _values(feed))
    return int(row["last_seq"]) if row else 0


def _values(feed: RunRef) -> dict[str, Any]:
    return {"tenant": feed.tenant_id, "run": feed.run_id}
