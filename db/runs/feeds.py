"""Feeds: what a tenant's screens see as it happens, kept like the events of a run.

A feed is a run that never ends: its events have a gapless `seq`, wake readers up, and can be read
again from where a reader was. Only the latest are kept.
"""

from typing import Any

from db.runs import events as event_log
from db.runs import lifecycle
from db.session import Connection, Database, one
from domain import names
from domain.names import Kind
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import RunRef

_KEPT_EVENTS = 5_000
_TRIM_EVERY = 500
_LAST = """
-- Read how long a feed is. Locks nothing.
SELECT last_seq FROM runs WHERE tenant_id = %(tenant)s AND id = %(run)s
"""


class Feeds:
    """The feeds of tenants, for those who read them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last(self, feed: RunRef) -> tuple[int, int]:
        """Return the seqs of a feed's last event, and of the one before the oldest that will be
        there for a while. The feed is made if nothing has happened yet."""
        async with self._database.transaction(feed.tenant_id) as connection:
            row = await one(connection, _LAST, feed.key)
            if row is None:
                await lifecycle.open_feed(connection, feed)
        seq = int(row["last_seq"]) if row else 0
        return seq, max(0, seq - _KEPT_EVENTS + _TRIM_EVERY)


def scores_of(tenant_id: str) -> RunRef:
    """Return the feed of a tenant's new scores."""
    return RunRef(tenant_id=tenant_id, run_id=names.run_id(Kind.FEED, "scores"))


async def publish(
    connection: Connection, feed: RunRef, type: EventType, data: dict[str, Any]
) -> None:
    """Show an event on a tenant's screens, in the transaction of what it is about."""
    seq = await _lock(connection, feed)
    await event_log.append(connection, feed, 0, 0, [NewEvent(type=type, data=data)], fenced=False)
    if seq % _TRIM_EVERY == 0 and seq > _KEPT_EVENTS:
        await _trim(connection, feed, seq - _KEPT_EVENTS)


_LOCK = """
-- Lock a feed and read how long it is: publishers come one after the other.
SELECT last_seq FROM runs WHERE tenant_id = %(tenant)s AND id = %(run)s FOR NO KEY UPDATE
"""


async def _lock(connection: Connection, feed: RunRef) -> int:
    row = await one(connection, _LOCK, feed.key)
    if row is None:
        await lifecycle.open_feed(connection, feed)
    return int(row["last_seq"]) if row else 0


_TRIM = """
-- Drop the oldest events of a feed, which its publisher has locked.
DELETE FROM run_events WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND seq <= %(seq)s
"""


async def _trim(connection: Connection, feed: RunRef, seq: int) -> None:
    await connection.execute(_TRIM, feed.key | {"seq": seq})
