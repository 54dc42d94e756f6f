"""New scores: stored once for each run, lead and arm, and made current if they are visible."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, NamedTuple

from db import arrays
from db.runs import events as event_log
from db.session import Connection, one
from domain.runs.runs import RunRef
from domain.scoring.jobs import NewScore, ScoringJob
from domain.scoring.scores import reasoning


class _ScoreColumns(NamedTuple):
    lead_id: str
    arm: str
    score: float
    confidence: float
    reasoning: str
    components: str
    features: str
    model_version: str
    visible: bool
    inputs_digest: str
    cost_micros: int


_STORE = f"""
-- Store the scores that a run does not have yet, and make the visible ones current unless one of
-- later inputs is; return how many leads they are. Locks the leads against erasure until the
-- scores are there: one that was erased meanwhile gets none.
WITH held AS MATERIALIZED (
    SELECT id FROM leads WHERE tenant_id = %(tenant)s AND id = ANY (%(lead_id)s) FOR KEY SHARE
), stored AS (
    INSERT INTO scores (tenant_id, run_id, lead_id, arm, score, confidence, reasoning,
        components, features, model_version, experiment_id, visible, requested_by, inputs_digest,
        cost_micros, calculated_at, expires_at)
    SELECT %(tenant)s, %(run)s, g.lead_id, g.arm, g.score, g.confidence, g.reasoning,
        g.components::jsonb, g.features::jsonb, g.model_version,
        CASE WHEN g.arm <> '' THEN %(experiment)s END, g.visible, %(user)s, g.inputs_digest,
        g.cost_micros, %(as_of)s::timestamptz, %(expires)s::timestamptz
    FROM {arrays.unnest(_ScoreColumns, "g")}
    WHERE NOT EXISTS (SELECT FROM batch_failures f
            WHERE f.tenant_id = %(tenant)s AND f.run_id = %(run)s AND f.lead_id = g.lead_id)
        AND g.lead_id = ANY (ARRAY(SELECT id FROM held))
    ON CONFLICT DO NOTHING
    RETURNING lead_id, arm, score, visible
), made_current AS (
    INSERT INTO current_scores AS s (tenant_id, lead_id, run_id, arm, score, calculated_at)
    SELECT %(tenant)s, lead_id, %(run)s, arm, score, %(as_of)s::timestamptz
    FROM stored WHERE visible ORDER BY lead_id
    ON CONFLICT (tenant_id, lead_id) DO UPDATE SET run_id = excluded.run_id, arm = excluded.arm,
        score = excluded.score, calculated_at = excluded.calculated_at
    WHERE s.calculated_at <= excluded.calculated_at
)
SELECT count(*) FILTER (WHERE visible OR arm = %(counted_arm)s) AS leads FROM stored
"""


async def store(
    connection: Connection, run: RunRef, job: ScoringJob, scores: Sequence[NewScore]
) -> int:
    """Store scores that this run does not have yet; return how many leads they are."""
    first = scores[0].assignment
    values: dict[str, Any] = {
        "experiment": job.experiment_id,
        # Each lead has one row that counts it: the visible one, or the first of a test's.
        "counted_arm": None if first.visible else first.arm,
        "user": job.user_id,
        "as_of": job.as_of,
        "expires": job.as_of + timedelta(hours=job.valid_hours),
    }
    rows = [_score_columns(score) for score in scores]
    values |= run.key | arrays.columns_of(_ScoreColumns, rows)
    row = await one(connection, _STORE, values)
    return int(row["leads"]) if row else 0


def _score_columns(new: NewScore) -> _ScoreColumns:
    score = new.score
    return _ScoreColumns(
        lead_id=new.lead.subject.lead_id,
        arm=new.assignment.arm,
        score=float(score.score),
        confidence=float(score.confidence),
        reasoning=reasoning(score.score, score.components),
        components=event_log.encode([asdict(component) for component in score.components]),
        features=event_log.encode(score.features),
        model_version=new.assignment.model,
        visible=new.assignment.visible,
        inputs_digest=new.lead.digest,
        cost_micros=new.cost_micros,
    )
