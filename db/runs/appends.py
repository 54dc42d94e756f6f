"""Appends of many runs in one statement: the busier the log, the less an append costs.

While one statement is on its way, what arrives waits for the next one. Each append keeps its own
fence and its own answer.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from db.session import Database, many
from domain.errors import Invalid, Superseded
from domain.runs.events import NewEvent
from domain.runs.runs import RunRef

_MOST = 200
_LOST = "A newer attempt has taken over this step, or the run has ended."

# Rows are locked in the order of their keys, so that two such statements never block each other.
_APPEND_ALL = """
WITH asked AS (
    SELECT * FROM unnest(%(runs)s::text[], %(steps)s::int[], %(attempts)s::int[], %(counts)s::int[])
        AS a (run, step, attempt, count)
), locked AS (
    SELECT r.id FROM runs r JOIN asked a ON a.run = r.id
    WHERE r.tenant_id = %(tenant)s AND r.finished_at IS NULL
      AND r.step = a.step AND r.attempt = a.attempt
    ORDER BY r.id FOR NO KEY UPDATE OF r
), head AS (
    UPDATE runs r SET last_seq = r.last_seq + a.count, active_at = now()
    FROM asked a JOIN locked l ON l.id = a.run
    WHERE r.tenant_id = %(tenant)s AND r.id = a.run AND r.finished_at IS NULL
      AND r.step = a.step AND r.attempt = a.attempt
    RETURNING r.id, r.last_seq - a.count AS base, a.step, a.attempt
), appended AS (
    INSERT INTO run_events (tenant_id, run_id, seq, step, attempt, type, data)
    SELECT %(tenant)s, head.id, head.base + e.n, head.step, head.attempt, e.type, e.data::jsonb
    FROM head JOIN unnest(%(event_runs)s::text[], %(places)s::int[], %(types)s::text[],
        %(data)s::text[]) AS e (run, n, type, data) ON e.run = head.id
)
SELECT id, pg_notify(%(channel)s, %(tenant)s || '/' || id) FROM head
"""


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
        """Append, together with whoever else wants to; raises Superseded or Unavailable.

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
        except Exception as error:  # noqa: BLE001, whoever waits must hear of it
            _answer(batch, error)
        else:
            for append in batch:
                lost = append.run.run_id not in heads
                _answer([append], Superseded(_LOST) if lost else None)

    def _next(self) -> list[Append]:
        """Appends of one tenant, at most one of each run; the others keep their order."""
        tenant_id, chosen, left = self._waiting[0].run.tenant_id, dict[str, Append](), []
        for append in self._waiting:
            run = append.run
            if run.tenant_id == tenant_id and run.run_id not in chosen and len(chosen) < _MOST:
                chosen[run.run_id] = append
            else:
                left.append(append)
        self._waiting = left
        return list(chosen.values())

    async def _write(self, batch: list[Append]) -> set[str]:
        tenant_id = batch[0].run.tenant_id
        rows = [
            (append.run.run_id, n, kind, data)
            for append in batch
            for n, (kind, data) in enumerate(zip(append.types, append.data, strict=True), 1)
        ]
        values = {
            "tenant": tenant_id,
            "channel": self._channel,
            "runs": [append.run.run_id for append in batch],
            "steps": [append.step for append in batch],
            "attempts": [append.attempt for append in batch],
            "counts": [len(append.types) for append in batch],
            "event_runs": [row[0] for row in rows],
            "places": [row[1] for row in rows],
            "types": [row[2] for row in rows],
            "data": [row[3] for row in rows],
        }
        async with self._database.transaction(tenant_id) as connection:
            return {str(row["id"]) for row in await many(connection, _APPEND_ALL, values)}


def _answer(batch: list[Append], error: Exception | None) -> None:
    for append in batch:
        if append.done.done():
            continue
        if error is None:
            append.done.set_result(None)
        else:
            append.done.set_exception(error)
