"""Scores: kept once per run, lead and arm, with all that an audit asks for."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from db import cursors
from db.leads import rescores
from db.leads.filters import Condition
from db.runs import events as event_log
from db.runs import feeds, leases, lifecycle
from db.runs.leases import Lease
from db.scoring import jobs, plans
from db.session import Connection, Database, many, one
from domain.errors import NotFound
from domain.identity.principals import Principal
from domain.runs.attempts import Attempt
from domain.runs.errors import RunFinished
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Outcome, RunEnd, RunRef
from domain.scoring.jobs import Scored, ScoringTask
from domain.scoring.scores import CurrentScore, LeadScored, ScoreInput, ScoreResult, reasoning

_COLUMNS = """lead_id, score, confidence, reasoning, components, features, model_version, arm,
    experiment_id, shown, run_id, requested_by, inputs_digest, cost_micros, calculated_at,
    expires_at"""
# What was forgotten meanwhile stays so: the leads are held until the scores are there.
_STORE = """
WITH held AS MATERIALIZED (
    SELECT id FROM leads WHERE tenant_id = %(tenant)s AND id = ANY (%(leads)s) FOR KEY SHARE
), stored AS (
    INSERT INTO scores (tenant_id, run_id, lead_id, arm, score, confidence, reasoning,
        components, features, model_version, experiment_id, shown, requested_by, inputs_digest,
        cost_micros, calculated_at, expires_at)
    SELECT %(tenant)s, %(run)s, g.lead, g.arm, g.score, g.confidence, g.reasoning,
        g.components::jsonb, g.features::jsonb, g.model,
        CASE WHEN g.arm <> '' THEN %(experiment)s END, g.shown, %(user)s, g.digest, g.cost,
        %(as_of)s, %(expires)s
    FROM unnest(%(leads)s::text[], %(arms)s::text[], %(scores)s::float8[],
        %(confidences)s::float8[], %(reasonings)s::text[], %(components)s::text[],
        %(features)s::text[], %(models)s::text[], %(shown)s::bool[], %(digests)s::text[],
        %(costs)s::bigint[])
        AS g (lead, arm, score, confidence, reasoning, components, features, model, shown, digest,
            cost)
    WHERE NOT EXISTS (SELECT FROM batch_failures f
            WHERE f.tenant_id = %(tenant)s AND f.run_id = %(run)s AND f.lead_id = g.lead)
        AND g.lead = ANY (ARRAY(SELECT id FROM held))
    ON CONFLICT DO NOTHING
    RETURNING lead_id, arm, score, shown
), standing AS (
    INSERT INTO current_scores AS s (tenant_id, lead_id, run_id, arm, score, calculated_at)
    SELECT %(tenant)s, lead_id, %(run)s, arm, score, %(as_of)s FROM stored WHERE shown
    ORDER BY lead_id
    ON CONFLICT (tenant_id, lead_id) DO UPDATE SET run_id = excluded.run_id, arm = excluded.arm,
        score = excluded.score, calculated_at = excluded.calculated_at
    WHERE s.calculated_at <= excluded.calculated_at
)
SELECT count(*) FILTER (WHERE shown OR arm = %(first)s) AS leads FROM stored
"""
_STANDS = """
SELECT 1 FROM current_scores
WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s AND run_id = %(run)s
"""
_ARMS = """
SELECT arm FROM scores
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND lead_id = %(lead)s
"""
_BEFORE = "SELECT score FROM current_scores WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s"
_CURRENT = f"""
SELECT {", ".join(f"c.{name.strip()}" for name in _COLUMNS.split(","))} FROM current_scores s
JOIN scores c ON c.tenant_id = s.tenant_id AND c.run_id = s.run_id
    AND c.lead_id = s.lead_id AND c.arm = s.arm
WHERE s.tenant_id = %(tenant)s AND s.lead_id = %(lead)s
"""
_HISTORY = f"""
SELECT {_COLUMNS} FROM scores
WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s AND (shown OR %(hidden)s)
  AND (%(time)s::timestamptz IS NULL
    OR (calculated_at, run_id || '/' || arm) < (%(time)s::timestamptz, %(after)s))
ORDER BY calculated_at DESC, run_id || '/' || arm DESC LIMIT %(limit)s
"""
_OF_RUN = f"""
SELECT {_COLUMNS} FROM scores
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND shown LIMIT 1
"""
_RESULT = """
SELECT score, model_version, experiment_id IS NOT NULL AS shadows FROM scores
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND shown
"""


class Scores:
    """Scores of single leads; `lease` is that of the process which calculates them."""

    def __init__(self, database: Database, lease: Lease | None = None) -> None:
        self._database = database
        self._lease = lease

    async def begin(self, wanted: ScoreInput, attempt: Attempt) -> ScoringTask | ScoreResult:
        """Take the run for this attempt and read the lead, or tell how the run has ended.

        Raises NotFound (`lead_unknown`, `model_unknown`), Conflict (`model_retired`), RunUnknown,
        RunCancelled, Superseded for an attempt that is too late.
        """
        run = wanted.run
        async with self._database.transaction(run.tenant_id) as connection:
            try:
                begun = await lifecycle.begin(connection, run, leases.fence(self._lease, attempt))
            except RunFinished:
                return await _ended(connection, run)
            await rescores.take(connection, run, wanted.lead_id)
            task = await _read(connection, wanted, begun.user_id)
        if not task.leads:
            raise NotFound("There is no such lead.", code="lead_unknown")
        return task

    async def finish(
        self, wanted: ScoreInput, attempt: int, task: ScoringTask, scored: Scored
    ) -> ScoreResult:
        """Keep the score, tell the tenant's screens, and end the run; all of it or nothing. A
        score that was overtaken by one of later inputs is kept, and told to nobody."""
        run = wanted.run
        async with self._database.transaction(run.tenant_id) as connection:
            before = await one(connection, _BEFORE, _values(run, wanted.lead_id))
            await store(connection, run, task, [scored])
            told = told_of(run, task, scored) | {"before": before["score"] if before else None}
            event = NewEvent(type=EventType.LEAD_SCORED, data=told)
            await event_log.append(connection, run, 1, attempt, [event])
            result = {"score": scored.score.score, "model_version": scored.assignment.model}
            await lifecycle.end(
                connection, RunEnd(run=run, outcome=Outcome.COMPLETED, result=result)
            )
            if await one(connection, _STANDS, _values(run, wanted.lead_id)):
                await feeds.publish(connection, feeds.scores_of(run.tenant_id), event.type, told)
        shadows = any(not each.shown for each in task.leads[0].assignments)
        return ScoreResult(outcome=Outcome.COMPLETED, shadows=shadows, **result)

    async def shadows(self, wanted: ScoreInput) -> ScoringTask:
        """The lead again, with the shadow arms that have not scored it for this run; no lead if it
        was forgotten meanwhile."""
        run = wanted.run
        async with self._database.transaction(run.tenant_id) as connection:
            rows = await many(connection, _ARMS, _values(run, wanted.lead_id))
            done = {row["arm"] for row in rows}
            task = await _read(connection, wanted, wanted.user_id)
        leads = [
            replace(lead, assignments=[a for a in lead.assignments if a.arm not in done])
            for lead in task.leads
        ]
        return replace(task, leads=leads)

    async def keep(self, wanted: ScoreInput, task: ScoringTask, scored: Sequence[Scored]) -> int:
        """Keep scores of shadows; how many leads they are."""
        async with self._database.transaction(wanted.run.tenant_id) as connection:
            return await store(connection, wanted.run, task, scored)

    async def of_run(self, caller: Principal, run_id: str) -> LeadScored:
        """The score that a run has shown; raises NotFound (`lead_unscored`)."""
        values = {"tenant": caller.tenant_id, "run": run_id}
        async with self._database.transaction(caller.tenant_id) as connection:
            row = await one(connection, _OF_RUN, values)
        if row is None:
            raise NotFound("This run has made no score.", code="lead_unscored")
        return LeadScored.model_validate(row)

    async def check(self, caller: Principal, model: str | None) -> None:
        """Raises NotFound (`model_unknown`), Conflict (`model_retired`, `model_not_approved`) for
        a model whose scores must not be shown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await plans.current(connection, caller.tenant_id, model)

    async def current(
        self, caller: Principal, lead_id: str, *, cursor: str | None, limit: int, hidden: bool
    ) -> CurrentScore:
        """A lead's score as it stands, and its history; `hidden`: those of shadow arms too.

        Raises NotFound (`lead_unscored`).
        """
        time, after = cursors.decode_place(cursor)
        values = {"tenant": caller.tenant_id, "lead": lead_id, "hidden": hidden}
        values |= {"time": time, "after": after, "limit": limit + 1}
        async with self._database.transaction(caller.tenant_id) as connection:
            row = await one(connection, _CURRENT, values)
            rows = await many(connection, _HISTORY, values)
        if row is None:
            raise NotFound("This lead has no score yet.", code="lead_unscored")
        history = [LeadScored.model_validate(found) for found in rows[:limit]]
        more = len(rows) > limit
        return CurrentScore(
            **row, history=history, next_cursor=_cursor(history[-1]) if more else None
        )


async def store(
    connection: Connection, run: RunRef, task: ScoringTask, scored: Sequence[Scored]
) -> int:
    """Keep scores that this run does not have yet; how many leads they are."""
    values = {
        "tenant": run.tenant_id,
        "run": run.run_id,
        "experiment": task.experiment_id,
        # Each lead has one row that counts it: the one that is shown, or the first of a test's.
        "first": None if scored[0].assignment.shown else scored[0].assignment.arm,
        "user": task.user_id,
        "as_of": task.as_of,
        "expires": task.as_of + timedelta(hours=task.valid_hours),
        "leads": [item.lead.subject.lead_id for item in scored],
        "arms": [item.assignment.arm for item in scored],
        "scores": [float(item.score.score) for item in scored],
        "confidences": [float(item.score.confidence) for item in scored],
        "reasonings": [reasoning(item.score.score, item.score.components) for item in scored],
        "components": [_components(item) for item in scored],
        "features": [event_log.encode(item.score.features) for item in scored],
        "models": [item.assignment.model for item in scored],
        "shown": [item.assignment.shown for item in scored],
        "digests": [item.lead.digest for item in scored],
        "costs": [item.cost_micros for item in scored],
    }
    row = await one(connection, _STORE, values)
    return int(row["leads"]) if row else 0


def told_of(run: RunRef, task: ScoringTask, shown: Scored) -> dict[str, Any]:
    """A score as screens are told of it."""
    score = shown.score
    return {
        "lead_id": shown.lead.subject.lead_id,
        "score": score.score,
        "confidence": score.confidence,
        "reasoning": reasoning(score.score, score.components),
        "components": [asdict(component) for component in score.components],
        "model_version": shown.assignment.model,
        "arm": shown.assignment.arm,
        "run_id": run.run_id,
        "calculated_at": task.as_of,
    }


async def _read(connection: Connection, wanted: ScoreInput, user_id: str) -> ScoringTask:
    tenant_id = wanted.run.tenant_id
    plan = await plans.current(connection, tenant_id, wanted.model)
    lead = Condition("l.id = %(lead)s", {"lead": wanted.lead_id})
    return await jobs.read(connection, tenant_id, plan, user_id, lead, 1)


async def _ended(connection: Connection, run: RunRef) -> ScoreResult:
    outcome = await lifecycle.outcome_of(connection, run)
    result = await one(connection, _RESULT, _values(run)) or {}
    return ScoreResult(outcome=outcome, **result)


def _components(item: Scored) -> str:
    listed = [asdict(component) for component in item.score.components]
    return event_log.encode(listed)


def _cursor(last: LeadScored) -> str:
    return cursors.encode(last.calculated_at.isoformat(), f"{last.run_id}/{last.arm}")


def _values(run: RunRef, lead_id: str | None = None) -> dict[str, Any]:
    return {"tenant": run.tenant_id, "run": run.run_id, "lead": lead_id}
