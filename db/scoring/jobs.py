"""Scoring tasks: leads read as models see them, with the models that score each."""

from datetime import UTC, datetime

from db.leads.filters import STANDING, Condition, conditions
from db.scoring import subjects
from db.scoring.models import settings_of
from db.session import Connection, many
from domain.scoring.experiments import ScoringPlan, assignments
from domain.scoring.jobs import LeadTask, ScoringTask


async def read(
    connection: Connection,
    tenant_id: str,
    plan: ScoringPlan,
    user_id: str,
    chosen: Condition,
    most: int,
) -> ScoringTask:
    """The first leads that a condition finds, in the order of their ids, as they are now;
    `user_id` is who asked."""
    settings = await settings_of(connection, tenant_id)
    member = conditions(plan.filter, "member_")
    # A comparison looks back: it must not see what a lead did once the outcome was known.
    past = ("coalesce(l.outcome_at, statement_timestamp())", "<") if plan.tests else ()
    query = f"""
        SELECT {subjects.columns(*past)}, statement_timestamp() AS as_of,
            coalesce({member.sql}, false) AS in_filter
        FROM leads l {STANDING} WHERE l.tenant_id = %(tenant)s AND {chosen.sql}
        ORDER BY l.id LIMIT %(most)s
    """
    values = chosen.values | member.values | {"tenant": tenant_id, "most": most}
    rows = await many(connection, query, values)
    leads = []
    for found in map(subjects.read, rows):
        lead_id = found.subject.lead_id
        given = assignments(plan, tenant_id, lead_id, in_filter=found.in_filter)
        leads.append(LeadTask(found.subject, found.digest, given))
    return ScoringTask(
        leads=leads,
        user_id=user_id,
        as_of=rows[0]["as_of"] if rows else datetime.now(UTC),
        valid_hours=settings.valid_hours,
        experiment_id=plan.experiment_id,
    )
