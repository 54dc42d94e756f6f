"""Scores: stored once per run, lead and arm, with all that an audit needs."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from db import cursors
from db.leads import rescores
from db.leads.filters import Condition
from db.runs import events as event_log
from db.runs import feeds, leases, lifecycle
from db.runs.leases import Lease
from db.scoring import jobs, new_scores, plans
from db.session import Connection, Database, many, one
from domain.identity.principals import Principal
from domain.leads.errors import LeadUnknown
from domain.runs.attempts import Attempt
from domain.runs.errors import RunFinished
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Outcome, RunEnd, RunRef
from domain.scoring.errors import LeadUnscored
from domain.scoring.jobs import NewScore, ScoringJob
from domain.scoring.scores import CurrentScore, LeadScored, ScoreInput, ScoreResult, reasoning

_COLUMNS = """lead_id, score, confidence, reasoning, components, features, model_version, arm,
    experiment_id, visible, run_id, requested_by, inputs_digest, cost_micros, calculated_at,
    expires_at"""


class Scores:
    """Scores of single leads; `lease` is that of the process which calculates them."""

    def __init__(self, database: Database, lease: Lease | None = None) -> None:
        self._database = database
        self._lease = lease

    async def begin(self, input: ScoreInput, attempt: Attempt) -> ScoringJob | ScoreResult:
        """Begin the run with this attempt and read the lead, or return how the run has ended.

        Raises LeadUnknown, RunUnknown, ModelUnknown, ModelRetired, RunCancelled, and Superseded for
        an attempt that is too late.
        """
        run = input.run
        async with self._database.transaction(run.tenant_id) as connection:
            try:
                begun = await lifecycle.begin(connection, run, leases.fence(self._lease, attempt))
            except RunFinished:
                return await _ended(connection, run)
            await rescores.take(connection, run, input.lead_id)
            job = await _read(connection, input, begun.user_id)
        if not job.leads:
            raise LeadUnknown(lead_id=input.lead_id)
        return job

    async def finish(
        self, input: ScoreInput, attempt: int, job: ScoringJob, score: NewScore
    ) -> ScoreResult:
        """Store the score, publish it, and end the run, in one transaction. A score that was
        overtaken by one of later inputs is stored, and not published."""
        run = input.run
        async with self._database.transaction(run.tenant_id) as connection:
            before = await _score_before(connection, run.tenant_id, input.lead_id)
            await new_scores.store(connection, run, job, [score])
            data = _event_data(run, job, score) | {"before": before}
            event = NewEvent(type=EventType.LEAD_SCORED, data=data)
            await event_log.append(connection, run, 1, attempt, [event])
            result = {"score": score.score.score, "model_version": score.assignment.model}
            end = RunEnd(run=run, outcome=Outcome.COMPLETED, result=result)
            await lifecycle.end(connection, end)
            if await _is_current(connection, run, input.lead_id):
                await feeds.publish(connection, feeds.scores_of(run.tenant_id), event.type, data)
        shadows = any(not each.visible for each in job.leads[0].assignments)
        return ScoreResult(outcome=Outcome.COMPLETED, shadows=shadows, **result)

    async def shadows(self, input: ScoreInput) -> ScoringJob:
        """Read the lead again, with the shadow arms that have not scored it for this run; no lead
        if it was erased meanwhile."""
        async with self._database.transaction(input.run.tenant_id) as connection:
            scored = await _arms(connection, input.run, input.lead_id)
            job = await _read(connection, input, input.user_id)
        leads = [
            replace(lead, assignments=[a for a in lead.assignments if a.arm not in scored])
            for lead in job.leads
        ]
        return replace(job, leads=leads)

    async def store_shadows(
        self, input: ScoreInput, job: ScoringJob, scores: Sequence[NewScore]
    ) -> int:
        """Store scores of shadow arms; return how many leads they are."""
        async with self._database.transaction(input.run.tenant_id) as connection:
            return await new_scores.store(connection, input.run, job, scores)

    async def of_run(self, caller: Principal, run_id: str) -> LeadScored:
        """Return the visible score of a run. Raises LeadUnscored."""
        run = RunRef(tenant_id=caller.tenant_id, run_id=run_id)
        async with self._database.transaction(caller.tenant_id) as connection:
            score = await _of_run(connection, run)
        if score is None:
            raise LeadUnscored("This run has made no score.", run_id=run_id)
        return score

    async def check(self, caller: Principal, model: str | None) -> None:
        """Raise ModelUnknown, ModelRetired or ModelNotApproved for a model whose scores must not
        be visible."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await plans.current(connection, caller.tenant_id, model)

    async def current(
        self, caller: Principal, lead_id: str, *, cursor: str | None, limit: int, hidden: bool
    ) -> CurrentScore:
        """Return a lead's current score with a page of its history; `hidden`: those of shadow arms
        too. Raises LeadUnscored, CursorInvalid."""
        async with self._database.transaction(caller.tenant_id) as connection:
            row = await _current(connection, caller.tenant_id, lead_id)
            rows = await _history(
                connection, caller.tenant_id, lead_id, cursor, limit + 1, hidden=hidden
            )
        if row is None:
            raise LeadUnscored(lead_id=lead_id)
        history = cursors.page(
            rows,
            limit,
            LeadScored.model_validate,
            key=lambda r: (r["calculated_at"], r["position"]),
        )
        return CurrentScore(**row, history=history.items, next_cursor=history.next_cursor)


def _event_data(run: RunRef, job: ScoringJob, new: NewScore) -> dict[str, Any]:
    score = new.score
    return {
        "lead_id": new.lead.subject.lead_id,
        "score": score.score,
        "confidence": score.confidence,
        "reasoning": reasoning(score.score, score.components),
        "components": [asdict(component) for component in score.components],
        "model_version": new.assignment.model,
        "arm": new.assignment.arm,
        "run_id": run.run_id,
        "calculated_at": job.as_of,
    }


async def _read(connection: Connection, input: ScoreInput, user_id: str) -> ScoringJob:
    tenant_id = input.run.tenant_id
    plan = await plans.current(connection, tenant_id, input.model)
    lead = Condition("l.id = %(lead)s", {"lead": input.lead_id})
    return await jobs.read(connection, tenant_id, plan, user_id, lead, 1)


_IS_CURRENT = """
-- Say whether a lead's current score is that of this run.
SELECT 1 FROM current_scores
WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s AND run_id = %(run)s
"""


async def _is_current(connection: Connection, run: RunRef, lead_id: str) -> bool:
    return await one(connection, _IS_CURRENT, run.key | {"lead": lead_id}) is not None


_ARMS = """
-- Read the arms that have scored a lead for this run.
SELECT arm FROM scores
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND lead_id = %(lead)s
"""


async def _arms(connection: Connection, run: RunRef, lead_id: str) -> set[str]:
    rows = await many(connection, _ARMS, run.key | {"lead": lead_id})
    return {row["arm"] for row in rows}


_SCORE_BEFORE = """
-- Read a lead's current score, of which there may be none.
SELECT score FROM current_scores WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s
"""


async def _score_before(connection: Connection, tenant_id: str, lead_id: str) -> float | None:
    row = await one(connection, _SCORE_BEFORE, {"tenant": tenant_id, "lead": lead_id})
    return row["score"] if row else None


_CURRENT = f"""
-- Read a lead's current score with all that an audit needs.
SELECT {", ".join(f"c.{name.strip()}" for name in _COLUMNS.split(","))} FROM current_scores s
JOIN scores c ON c.tenant_id = s.tenant_id AND c.run_id = s.run_id
    AND c.lead_id = s.lead_id AND c.arm = s.arm
WHERE s.tenant_id = %(tenant)s AND s.lead_id = %(lead)s
"""


async def _current(connection: Connection, tenant_id: str, lead_id: str) -> dict[str, Any] | None:
    return await one(connection, _CURRENT, {"tenant": tenant_id, "lead": lead_id})


_HISTORY = f"""
-- Read a page of a lead's scores, the latest first.
SELECT {_COLUMNS}, run_id || '/' || arm AS position FROM scores
WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s AND (visible OR %(hidden)s)
  AND (%(time)s::timestamptz IS NULL
    OR (calculated_at, run_id || '/' || arm) < (%(time)s::timestamptz, %(after)s))
ORDER BY calculated_at DESC, run_id || '/' || arm DESC LIMIT %(limit)s
"""


async def _history(
    connection: Connection,
    tenant_id: str,
    lead_id: str,
    cursor: str | None,
    limit: int,
    *,
    hidden: bool,
) -> list[dict[str, Any]]:
    time, after = cursors.decode_place(cursor)
    values = {"tenant": tenant_id, "lead": lead_id, "hidden": hidden}
    return await many(connection, _HISTORY, values | {"time": time, "after": after, "limit": limit})


_OF_RUN = f"""
-- Read the visible score of a run, of which there is one at most.
SELECT {_COLUMNS} FROM scores
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND visible LIMIT 1
"""


async def _of_run(connection: Connection, run: RunRef) -> LeadScored | None:
    row = await one(connection, _OF_RUN, run.key)
    return LeadScored.model_validate(row) if row else None


async def _ended(connection: Connection, run: RunRef) -> ScoreResult:
    outcome = await lifecycle.outcome_of(connection, run)
    score = await _of_run(connection, run)
    if score is None:
        return ScoreResult(outcome=outcome)
    return ScoreResult(
        outcome=outcome,
        score=score.score,
        model_version=score.model_version,
        shadows=score.experiment_id is not None,
    )
