"""Trainings: leads whose outcome is known, and the models learned from them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson

from db.leads.filters import CURRENT_SCORE, conditions
from db.runs import events as event_log
from db.runs import leases, lifecycle
from db.runs.leases import Lease
from db.session import Connection, Database, many, one
from domain.runs.attempts import Attempt
from domain.runs.errors import RunFinished
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Outcome, RunEnd, RunRef
from domain.scoring.examples import ClosedLead, Examples, Survey
from domain.scoring.inputs import WINDOW_DAYS, days_since
from domain.scoring.models import ScoringModel
from domain.scoring.subjects import SECONDS_PER_DAY
from domain.scoring.trainings import TrainingInput, TrainingResult

_MAX_LEADS = 100_000
_PAGE = 1_000
# Behaviour is the same 500 events that `subjects` reads, but in sums; ages are computed as there,
# so that a model learns from the numbers that it will be given.
_COLUMNS = f"""l.id, l.profile::text AS profile, l.outcome = 'won' AS won, l.outcome_at,
    extract(epoch FROM l.outcome_at)::float8 AS now,
    coalesce((SELECT jsonb_object_agg(e.type, jsonb_build_array(e.count, e.last))
        FROM (SELECT e.type, extract(epoch FROM max(e.time)) AS last, count(*) FILTER (WHERE
                (extract(epoch FROM l.outcome_at)::float8 - extract(epoch FROM e.time)::float8)
                / {SECONDS_PER_DAY}::float8 < {WINDOW_DAYS}::float8) AS count
            FROM (SELECT type, time FROM lead_events
                WHERE tenant_id = l.tenant_id AND lead_id = l.id
                  AND time < l.outcome_at AND time > l.outcome_at - interval '365 days'
                ORDER BY time DESC, id LIMIT 500) AS e
            GROUP BY e.type) AS e), '{{}}')::text AS behaviours"""


class Trainings:
    """The record of trainings; `lease` is that of the process which learns."""

    def __init__(self, database: Database, lease: Lease | None = None) -> None:
        self._database = database
        self._lease = lease

    async def examples(self, input: TrainingInput, attempt: Attempt) -> Examples | TrainingResult:
        """Read the latest 100,000 leads of the window, or return how the run has ended.

        Behaviour is that from before the outcome: later events would give the answer away. Profiles
        are today's, for their history is not stored.

        They are read twice, a thousand at a time, first to choose the columns. With the fit that
        follows a lead takes at most 12 KB (measured with 100 numbers and 50 event types).

        Raises RunUnknown, RunCancelled, Superseded.
        """
        run = input.run
        async with self._database.transaction(run.tenant_id) as connection:
            try:
                await lifecycle.begin(connection, run, leases.fence(self._lease, attempt))
            except RunFinished:
                return await _ended(connection, run)
        survey = Survey(input.request.allows)
        async for rows in self._pages(input):
            await asyncio.to_thread(survey.add, map(_lead, rows))
        examples = survey.examples()
        async for rows in self._pages(input):
            await asyncio.to_thread(examples.add, map(_lead, rows))
        return examples

    async def _pages(self, input: TrainingInput) -> AsyncIterator[list[dict[str, Any]]]:
        before: tuple[Any, str] | None = None
        for _ in range(_MAX_LEADS // _PAGE):
            async with self._database.transaction(input.run.tenant_id) as connection:
                rows = await _page(connection, input, before)
            yield rows
            if len(rows) < _PAGE:
                return
            before = (rows[-1]["outcome_at"], rows[-1]["id"])

    async def report(self, run: RunRef, stage: str, leads: int) -> None:
        """Append the progress of a training to its events."""
        event = NewEvent(type=EventType.TRAINING_PROGRESSED, data={"stage": stage, "leads": leads})
        async with self._database.transaction(run.tenant_id) as connection:
            await event_log.append(connection, run, 1, 0, [event], fenced=False)

    async def finish(self, input: TrainingInput, model: ScoringModel) -> TrainingResult:
        """End a training with the model that it has added."""
        auc = model.metrics.auc if model.metrics else None
        metrics = model.metrics.model_dump() if model.metrics else {}
        end = RunEnd(
            run=input.run,
            outcome=Outcome.COMPLETED,
            result={"model_id": model.id, "metrics": metrics},
        )
        async with self._database.transaction(input.run.tenant_id) as connection:
            ended = await lifecycle.end(connection, end)
        return TrainingResult(outcome=ended.outcome, model_id=model.id, auc=auc)


async def _ended(connection: Connection, run: RunRef) -> TrainingResult:
    outcome = await lifecycle.outcome_of(connection, run)
    if outcome is not Outcome.COMPLETED:
        return TrainingResult(outcome=outcome)
    return TrainingResult(outcome=outcome, **await _added(connection, run))


_ADDED = """
-- Read the model that a training run has added, of which there is one at most.
SELECT name || '.' || version AS model_id, (metrics ->> 'auc')::float8 AS auc
FROM scoring_models WHERE tenant_id = %(tenant)s AND run_id = %(run)s
"""


async def _added(connection: Connection, run: RunRef) -> dict[str, Any]:
    return await one(connection, _ADDED, run.key) or {}


def _lead(row: dict[str, Any]) -> ClosedLead:
    behaviours = {
        kind: (count, days_since((row["now"] - last) / SECONDS_PER_DAY))
        for kind, (count, last) in orjson.loads(row["behaviours"]).items()
    }
    return ClosedLead(orjson.loads(row["profile"]), behaviours, row["won"], row["outcome_at"])


async def _page(
    connection: Connection, input: TrainingInput, before: tuple[Any, str] | None
) -> list[dict[str, Any]]:
    request = input.request
    condition, values = conditions(request.filter)
    time, lead_id = before or (None, None)
    values |= {
        "tenant": input.run.tenant_id,
        "first": request.window_from,
        "last": request.window_to,
        "time": time,
        "before_id": lead_id,
        "page": _PAGE,
    }
    query = f"""
        -- Read a page of the leads with an outcome in the window, the latest first.
        SELECT {_COLUMNS} FROM leads l {CURRENT_SCORE}
        WHERE l.tenant_id = %(tenant)s AND l.outcome IS NOT NULL AND {condition}
          AND (%(first)s::timestamptz IS NULL OR l.outcome_at >= %(first)s)
          AND (%(last)s::timestamptz IS NULL OR l.outcome_at < %(last)s)
          AND (%(time)s::timestamptz IS NULL
            OR (l.outcome_at, l.id) < (%(time)s::timestamptz, %(before_id)s))
        ORDER BY l.outcome_at DESC, l.id DESC LIMIT %(page)s
    """
    return await many(connection, query, values)
