"""Leads: one workflow per score, from the question to what screens are told."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.leads import LeadActivities
    from domain import names
    from domain.scores import ScoreInput, ScoreResult
    from workflows import endings, policy

_LIMIT = timedelta(minutes=10)


@workflow.defn(name=names.WorkflowType.LEAD_SCORE)
class LeadScore:
    """Score one lead. It never fails: what went wrong is an outcome in the record."""

    @workflow.run
    async def run(self, wanted: ScoreInput) -> ScoreResult:
        try:
            result = await workflow.execute_activity_method(
                LeadActivities.score_lead,
                wanted,
                summary=f"score {wanted.lead_id}",
                schedule_to_close_timeout=_LIMIT,
                **policy.MODEL,
            )
            if result.score is not None:
                workflow.set_current_details(f"**{result.score:g}** by {result.model_version}")
        except (asyncio.CancelledError, FailureError) as error:
            closed = await workflow.execute_local_activity_method(
                LeadActivities.close_run, endings.closing(wanted.run, error), **policy.STORE
            )
            result = ScoreResult(outcome=closed.outcome)
        workflow.upsert_search_attributes([names.OUTCOME.value_set(result.outcome.value)])
        return result
