"""The event log of runs: gapless, fenced by attempt, only ever appended to."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from db.runs.appends import Appender
from db.session import Connection, Database, many, one
from domain.errors import Superseded
from domain.runs.events import EventType, NewEvent, RunEvent
from domain.runs.runs import RunRef

CHANNEL = "run_events"
_NUL = re.compile(r"(\\\\)|\\u0000")
DELETED = "run.deleted"

_READ = """
-- Read a page of a run's events. Locks nothing.
SELECT run_id, seq, type, step, attempt, data, created_at FROM run_events
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND seq > %(after)s ORDER BY seq LIMIT %(limit)s
"""
# A run that is gone gives one row with the seq 0, which no event has.
_READ_MANY = f"""
-- Read the next events of several runs. Locks nothing.
WITH w AS (SELECT * FROM unnest(%(runs)s::text[], %(after)s::int[]) AS w (run_id, after))
SELECT e.run_id, e.seq, e.type, e.step, e.attempt, e.data, e.created_at
FROM w CROSS JOIN LATERAL (
    SELECT * FROM run_events
    WHERE tenant_id = %(tenant)s AND run_id = w.run_id AND seq > w.after ORDER BY seq LIMIT 500
) AS e
UNION ALL
SELECT w.run_id, 0, '{DELETED}', 0, 0, '{{}}'::jsonb, now() FROM w
WHERE NOT EXISTS (SELECT FROM runs r WHERE r.tenant_id = %(tenant)s AND r.id = w.run_id)
"""


class Events:
    """Reads and appends a run's events in transactions of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._appender = Appender(database, CHANNEL)

    async def append(
        self,
        run: RunRef,
        step: int,
        attempt: int,
        events: Sequence[NewEvent],
        supersede: bool = False,
    ) -> None:
        """Append a step's events; raises Superseded for an attempt that has lost the step.

        `supersede` first takes back what earlier attempts of this step had streamed.
        """
        if not supersede:
            data = [encode(event.data) for event in events]
            return await self._appender.append(run, step, attempt, events, data)
        async with self._database.transaction(run.tenant_id) as connection:
            await append(connection, run, step, attempt, events, supersede=True)

    async def read(self, run: RunRef, after: int, limit: int) -> list[RunEvent]:
        """Return a page of the run's events behind `after`."""
        values = run.key | {"after": after, "limit": limit}
        async with self._database.transaction(run.tenant_id) as connection:
            return [_event(row) for row in await many(connection, _READ, values)]

    async def read_many(self, tenant_id: str, after: dict[str, int]) -> list[RunEvent]:
        """Return what is new in several runs of one tenant, in the order of each run's seq; for a
        run that was deleted one row of the type DELETED, which is in no log."""
        values = {"tenant": tenant_id, "runs": list(after), "after": list(after.values())}
        async with self._database.transaction(tenant_id) as connection:
            return [_event(row) for row in await many(connection, _READ_MANY, values)]

    async def wakes(self) -> AsyncIterator[RunRef | None]:
        """Yield runs that have something new; None first, when nothing can be missed any more."""
        async for payload in self._database.listen(CHANNEL):
            tenant_id, _, run_id = payload.partition("/")
            yield RunRef(tenant_id=tenant_id, run_id=run_id) if payload else None


# The row of the run is the sequence: locked by its update, so two appends can never make a gap.
_APPEND = f"""
-- Append events behind a run's last one, unless it has ended or a newer attempt has its step.
-- Locks the run; wakes readers.
WITH head AS (
    UPDATE runs SET last_seq = last_seq + %(count)s, active_at = now()
    WHERE tenant_id = %(tenant)s AND id = %(run)s AND finished_at IS NULL
      AND (NOT %(fenced)s OR (step = %(step)s AND attempt = %(attempt)s))
    RETURNING last_seq - %(count)s AS base
), appended AS (
    INSERT INTO run_events (tenant_id, run_id, seq, step, attempt, type, data)
    SELECT %(tenant)s, %(run)s, head.base + e.n, %(step)s, %(attempt)s, e.type, e.data::jsonb
    FROM head, unnest(%(types)s::text[], %(data)s::text[]) WITH ORDINALITY AS e (type, data, n)
)
SELECT base, pg_notify('{CHANNEL}', %(tenant)s || '/' || %(run)s) FROM head
"""


async def append(
    connection: Connection,
    run: RunRef,
    step: int,
    attempt: int,
    events: Sequence[NewEvent],
    *,
    fenced: bool = True,
    supersede: bool = False,
) -> None:
    """Append within a transaction. `fenced`: only if this attempt of this step is the current one.

    Raises Superseded otherwise, or when the run has ended.
    """
    if supersede:
        taken_back = NewEvent(type=EventType.STEP_SUPERSEDED, data={"attempt": attempt})
        events = [taken_back, *events]
        await _supersede(connection, run, step, attempt)
    values = {
        "step": step,
        "attempt": attempt,
        "count": len(events),
        "fenced": fenced,
        "types": [event.type.value for event in events],
        "data": [encode(event.data) for event in events],
    }
    if await one(connection, _APPEND, run.key | values) is None:
        raise Superseded


_SUPERSEDE = """
-- Take back the words of earlier attempts at a step; their seqs remain. Locks those events.
UPDATE run_events SET type = 'text.superseded', data = '{}'
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s
  AND attempt < %(attempt)s AND type = 'text.delta'
"""


async def _supersede(connection: Connection, run: RunRef, step: int, attempt: int) -> None:
    await connection.execute(_SUPERSEDE, run.key | {"step": step, "attempt": attempt})


_STREAMED = """
-- Read the words of a step that stand in the log. Locks nothing.
SELECT coalesce(string_agg(data->>'text', '' ORDER BY seq), '') AS text FROM run_events
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s AND type = 'text.delta'
"""


async def streamed_text(connection: Connection, run: RunRef, step: int) -> str:
    """Return the words of a step that were streamed and not taken back."""
    row = await one(connection, _STREAMED, run.key | {"step": step})
    return str(row["text"]) if row else ""


def encode(data: Any) -> str:
    """Return JSON that Postgres can hold, which knows no NUL character: an escaped backslash stays
    whole."""
    return _NUL.sub(r"\1", orjson.dumps(data).decode())


def _event(row: dict[str, Any]) -> RunEvent:
    return RunEvent.model_construct(**row)
