"""Appends of many runs in one statement: the busier the log, the less an append costs.

While one statement is on its way, what arrives waits for the next one. Each append keeps its own
fence and its own answer.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from db.session import Connection, Database, many
from domain.errors import Invalid, Superseded
from domain.runs.events import NewEvent
from domain.runs.runs import RunRef

_MAX_APPENDS = 200


@dataclass(frozen=True)
class Append:
    """Events of one attempt, encoded, and who waits for them."""

    run: RunRef
    step: int
    attempt: int
    types: Sequence[str]
    data: Sequence[str]
    done: asyncio.Future[None] = field(default_factory=asyncio.Future)


class Appender:
    """Groups the appends of a process."""

    def __init__(self, database: Database, channel: str) -> None:
        self._database = database
        self._channel = channel
        self._waiting: list[Append] = []
        self._work: asyncio.Task[None] | None = None

    async def append(
        self, run: RunRef, step: int, attempt: int, events: Sequence[NewEvent], data: Sequence[str]
    ) -> None:
        """Append, together with whoever else appends now; raises Superseded, DatabaseUnavailable.

        A caller that is cancelled meanwhile may find its events in the log all the same.
        """
        types = [event.type.value for event in events]
        append = Append(run, step, attempt, types, data)
        self._waiting.append(append)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run())
        await append.done

    async def _run(self) -> None:
        while self._waiting:
            await self._write_and_answer(self._next())

    async def _write_and_answer(self, batch: list[Append]) -> None:
        try:
            heads = await self._write(batch)
        except Invalid as error:
            if len(batch) == 1:
                return _answer(batch, error)
            # One bad value must not fail the others.
            for append in batch:
                await self._write_and_answer([append])
        except Exception as error:  # noqa: BLE001, whoever waits must get it
            _answer(batch, error)
        else:
            for append in batch:
                lost = append.run.run_id not in heads
                _answer([append], Superseded() if lost else None)

    def _next(self) -> list[Append]:
        """Take appends of one tenant, at most one of each run; the others keep their order."""
        tenant_id, chosen, left = self._waiting[0].run.tenant_id, dict[str, Append](), []
        for append in self._waiting:
            run = append.run
            if (
                run.tenant_id == tenant_id
                and run.run_id not in chosen
                and len(chosen) < _MAX_APPENDS
            ):
                chosen[run.run_id] = append
            else:
                left.append(append)
        self._waiting = left
        return list(chosen.values())

    async def _write(self, batch: list[Append]) -> set[str]:
        tenant_id = batch[0].run.tenant_id
        async with self._database.transaction(tenant_id) as connection:
            return await _append_all(connection, tenant_id, self._channel, batch)


# Rows are locked in the order of their keys, so that two such statements never block each other.
_APPEND_ALL = """
-- Append events of many runs, each unless it has ended or a newer attempt has its step. Locks the
-- runs; wakes readers; returns the runs that were appended to.
WITH batch AS (
    SELECT * FROM unnest(%(runs)s::text[], %(steps)s::int[], %(attempts)s::int[], %(counts)s::int[])
        AS b (run, step, attempt, count)
), locked AS (
    SELECT r.id FROM runs r JOIN batch b ON b.run = r.id
    WHERE r.tenant_id = %(tenant)s AND r.finished_at IS NULL
      AND r.step = b.step AND r.attempt = b.attempt
    ORDER BY r.id FOR NO KEY UPDATE OF r
), head AS (
    UPDATE runs r SET last_seq = r.last_seq + b.count, active_at = now()
    FROM batch b JOIN locked l ON l.id = b.run
    WHERE r.tenant_id = %(tenant)s AND r.id = b.run AND r.finished_at IS NULL
      AND r.step = b.step AND r.attempt = b.attempt
    RETURNING r.id, r.last_seq - b.count AS base, b.step, b.attempt
), appended AS (
    INSERT INTO run_events (tenant_id, run_id, seq, step, attempt, type, data)
    SELECT %(tenant)s, head.id, head.base + e.n, head.step, head.attempt, e.type, e.data::jsonb
    FROM head JOIN unnest(%(event_runs)s::text[], %(numbers)s::int[], %(types)s::text[],
        %(data)s::text[]) AS e (run, n, type, data) ON e.run = head.id
)
SELECT id, pg_notify(%(channel)s::text, %(tenant)s || '/' || id) FROM head
"""


async def _append_all(
    connection: Connection, tenant_id: str, channel: str, batch: Sequence[Append]
) -> set[str]:
    events = [
        (append.run.run_id, n, type, data)
        for append in batch
        for n, (type, data) in enumerate(zip(append.types, append.data, strict=True), 1)
    ]
    columns = zip(*events, strict=True) if events else ([], [], [], [])
    values = dict(zip(("event_runs", "numbers", "types", "data"), map(list, columns), strict=True))
    values |= {
        "runs": [append.run.run_id for append in batch],
        "steps": [append.step for append in batch],
        "attempts": [append.attempt for append in batch],
        "counts": [len(append.types) for append in batch],
    }
    names = {"tenant": tenant_id, "channel": channel}
    return {str(row["id"]) for row in await many(connection, _APPEND_ALL, values | names)}


def _answer(batch: list[Append], error: Exception | None) -> None:
    for append in batch:
        if append.done.done():
            continue
        if error is None:
            append.done.set_result(None)
        else:
            append.done.set_exception(error)
