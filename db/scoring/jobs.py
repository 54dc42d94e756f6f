"""Scoring jobs: leads read as models see them, with the models that score each."""

from datetime import UTC, datetime

from db.leads.filters import CURRENT_SCORE, Condition, conditions
from db.scoring import settings, subjects
from db.session import Connection, many
from domain.scoring.experiments import ScoringPlan, assignments
from domain.scoring.jobs import LeadJob, ScoringJob


async def read(
    connection: Connection,
    tenant_id: str,
    plan: ScoringPlan,
    user_id: str,
    condition: Condition,
    limit: int,
) -> ScoringJob:
    """Read the first leads that meet a condition, in the order of their ids, as they are now;
    `user_id` is who requested the scores."""
    valid_hours = (await settings.get(connection, tenant_id)).valid_hours
    filter = conditions(plan.filter, "filter_")
    # A comparison looks back: it must not see what a lead did once the outcome was known.
    past = ("coalesce(l.outcome_at, statement_timestamp())", "<") if plan.tests else ()
    query = f"""
        -- Read leads with their behaviour, as they were at one moment; locks nothing.
        SELECT {subjects.columns(*past)}, statement_timestamp() AS as_of,
            coalesce({filter.sql}, false) AS in_filter
        FROM leads l {CURRENT_SCORE} WHERE l.tenant_id = %(tenant)s AND {condition.sql}
        ORDER BY l.id LIMIT %(limit)s
    """
    values = condition.values | filter.values | {"tenant": tenant_id, "limit": limit}
    rows = await many(connection, query, values)
    return ScoringJob(
        leads=[_lead_job(subjects.read(row), plan, tenant_id) for row in rows],
        user_id=user_id,
        as_of=rows[0]["as_of"] if rows else datetime.now(UTC),
        valid_hours=valid_hours,
        experiment_id=plan.experiment_id,
    )


def _lead_job(lead: subjects.ReadSubject, plan: ScoringPlan, tenant_id: str) -> LeadJob:
    lead_id = lead.subject.lead_id
    assigned = assignments(plan, tenant_id, lead_id, in_filter=lead.in_filter)
    return LeadJob(lead.subject, lead.digest, assigned)
